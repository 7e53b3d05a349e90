import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.templates import RESOURCES, ROOT, load

UPDATE_TEMPLATE = "cloudformation-template-update-stack.json"


def run(*argv, **variables):
    """Run a program in the project; its output is in the failure."""
    # npm's registry, proxy and cache are configured in the developer's own home.
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    env = os.environ | {
        "npm_config_userconfig": str(home / ".npmrc"),
        "npm_config_cache": str(home / ".npm"),
        **variables,
    }
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def packaged(scratch_environment, tmp_path_factory):
    """Package a stage: `packaged("dev")` is the folder, made once a run for each stage."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not on PATH: install Node.js 20.19 or newer to test the deployment")
    made = {}

    def package(stage, **variables):
        key = (stage, *variables.values())
        if key not in made:
            made[key] = tmp_path_factory.mktemp("package")
            run(str(ROOT / "scripts" / "package"), stage, str(made[key]), **variables)
        return made[key]

    return package


@pytest.fixture(
    scope="session",
    params=["infra/resources.yml", pytest.param("packaged", marks=pytest.mark.integration)],
)
def template(request):
    """The template of the resources: as it is written, and inside the packaged deployment."""
    if request.param == "packaged":
        return load(request.getfixturevalue("packaged")("dev") / UPDATE_TEMPLATE)
    return load(RESOURCES)


@pytest.fixture(scope="session")
def deployment(packaged):
    """The whole packaged template of stage dev."""
    return load(packaged("dev") / UPDATE_TEMPLATE)
