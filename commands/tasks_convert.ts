/** `tasks convert`: a task's file or folder in another format. @module */
import { jsonLine } from "../core/json.ts";
import type { Command } from "../core/cli.ts";
import { formatTable } from "../core/reporter.ts";

export const command: Command = {
  name: "tasks convert",
  summary: "Write a task's file or folder in another format",
  description:
    "Reads entities, relations, labelled texts or questions in any format that the tasks know, found by " +
    "looking at the content, and writes another. Annotated documents also become tagged sentences, " +
    "or texts with a marked pair of entities each; tagged sentences become documents. What the other " +
    "format cannot say is counted.",
  options: {
    input: { type: "string", placeholder: "PATH", help: "the file or folder", required: true },
    out: { type: "string", placeholder: "PATH", help: "what to write", required: true },
    to: {
      type: "string",
      placeholder: "FORMAT",
      help: "its format; see tasks formats",
      required: true,
    },
    format: {
      type: "string",
      placeholder: "FORMAT",
      help: "the format of the input, where looking cannot tell",
    },
  },
  examples: [
    "deno task tasks convert --input CDR_TestSet.PubTator.txt --to conll --out test.tsv",
    "deno task tasks convert --input chemprot_training --to jsonl --out train.jsonl",
    "deno task tasks convert --input BioASQ-7b.json --to squad --out squad.json",
  ],
  async run(invocation) {
    const { convert } = await import("../model/tasks/formats/convert.ts");
    const result = convert({
      input: invocation.string("input") ?? "",
      out: invocation.string("out") ?? "",
      to: invocation.string("to") ?? "",
      from: invocation.string("format"),
    });
    const { reporter } = invocation;
    for (const loss of result.losses) reporter.log(`Left out: ${loss}`);
    reporter.line(formatTable(["conversion", "format", "records"], [
      ["read", result.from, result.read.toLocaleString("en")],
      ["written", result.to, result.written.toLocaleString("en")],
    ]));
    if (invocation.json) reporter.line(jsonLine(result));
  },
};
