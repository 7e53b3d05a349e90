// The public AsyncAPI parser reads a document from standard input and prints what it finds wrong.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(0, "utf8"));
const problems = diagnostics.map(({ severity, path, message }) => ({ severity, path, message }));
const messages = document ? document.allMessages().all().map((message) => message.id()) : [];
console.log(JSON.stringify({ parsed: Boolean(document), problems, messages }));
