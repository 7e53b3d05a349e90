"""The role of tenants is there when it is asked for, and nothing of it otherwise."""

import pytest

from tests.deploy.templates import created
from tests.deploy.test_encryption import KEY

pytestmark = pytest.mark.integration

FUNCTIONS = ("WorkerLambdaFunction", "SweeperLambdaFunction")


def variables(resources, function):
    return resources[function]["Properties"]["Environment"]["Variables"]


def test_without_it_there_is_no_such_role(deployment):
    found = created(deployment, KmsKeyArn=KEY)
    assert not {"TenantRole", "AssumeTenantRole"} & set(found)
    assert "TenantRole" not in str(found)
    for function in FUNCTIONS:
        assert "TENANT_ROLE_ARN" not in variables(found, function)


def test_with_it_the_functions_use_it_and_it_may_use_the_deployer_s_key(deployment):
    found = created(deployment, SeparateTenants="true", KmsKeyArn=KEY)
    assert {"TenantRole", "AssumeTenantRole"} < set(found)
    for function in FUNCTIONS:
        assert variables(found, function)["TENANT_ROLE_ARN"] == {
            "Fn::GetAtt": ["TenantRole", "Arn"]
        }
    assert {"Ref": "TenantRole"} in found["UseCustomerKey"]["Properties"]["Roles"]
    [policy] = found["TenantRole"]["Properties"]["Policies"]
    # osls has a syntax of its own for ${...}; the policy's variables come through it as written.
    assert "sessions/${!aws:PrincipalTag/tenant}/*" in str(policy)
