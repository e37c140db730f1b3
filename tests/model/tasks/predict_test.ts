import { UserError } from "../../../core/errors.ts";
import { join } from "../../../core/std.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { predictTask } from "../../../model/tasks/core/predict.ts";
import type { AnyTask } from "../../../model/tasks/core/task.ts";
import {
  conllLines,
  entityLines,
  rawSentences,
  textEntities,
} from "../../../model/tasks/ner/text.ts";
import { ner } from "../../../model/tasks/ner/task.ts";
import { relations } from "../../../model/tasks/relations/task.ts";
import { writeModelFolder } from "../../../model/weights/folder.ts";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "../../assert.ts";
import { makeReference, silentReporter, withFolder } from "../helpers.ts";
import { byteTokenizerJson, givenOf, MINIATURE_READER } from "./helpers.ts";

const TEXT = "Beta-blockers (e.g. atenolol) help. In 3.5% of cases gout followed; why?";

Deno.test("rawSentences() splits text as the public sets are split, and knows where words stand", () => {
  const sentences = rawSentences(TEXT, 0);
  assertEquals(sentences.map((s) => s.tokens.join(" ")), [
    "Beta - blockers ( e . g . atenolol ) help .",
    "In 3 . 5 % of cases gout followed ; why ?",
  ]);
  for (const { tokens, source } of sentences) {
    assertEquals(source.spans.map(([from, to]) => TEXT.slice(from, to)), tokens);
  }
  assertEquals(rawSentences("  ", 0), []);
});

Deno.test("tags of raw text become entities of the text, one line per text", () => {
  const [first, second] = rawSentences(TEXT, 0);
  const tagsOf = (sentence: typeof first, entities: Record<string, string>) =>
    sentence!.tokens.map((token) => entities[token] ?? "O");
  const tags = [
    tagsOf(first, { Beta: "B-Drug", "-": "I-Drug", blockers: "I-Drug", atenolol: "B-Drug" }),
    tagsOf(second, { gout: "B-Disease" }),
  ];
  assertEquals(textEntities(first!, tags[0]!), [
    { start: 0, end: 13, type: "Drug", text: "Beta-blockers" },
    { start: 20, end: 28, type: "Drug", text: "atenolol" },
  ]);
  const lines = entityLines([first!, second!], tags).trimEnd().split("\n").map((l) =>
    JSON.parse(l)
  );
  assertEquals(lines.length, 1);
  assertEquals(lines[0].text, TEXT);
  assertEquals(lines[0].entities.map((e: { text: string }) => e.text), [
    "Beta-blockers",
    "atenolol",
    "gout",
  ]);
  assert(conllLines([second!], [tags[1]!]).includes("cases\tO\ngout\tB-Disease\n"));
});

Deno.test("predict tags raw text with the labels that the model keeps", () =>
  withFolder(async (dir) => {
    const input = join(dir, "texts.txt");
    Deno.writeTextFileSync(input, "Gout is painful. So is flu.\n\nNothing here\n");
    const write = (name: string, taught?: { task: string; labels: string[] }) => {
      const path = join(dir, name);
      const tokenizer = new TextEncoder().encode(JSON.stringify(byteTokenizerJson()));
      const read = initialParameters(MINIATURE_READER, 1);
      writeModelFolder(path, { config: MINIATURE_READER, read, tokenizer, taught });
      return { name: path, folder: () => Promise.resolve(path) };
    };
    const request = {
      given: givenOf({ input, format: "jsonl" }),
      maxTokens: 128,
      batchSize: 2,
      makeModel: makeReference,
      reporter: silentReporter(),
      signal: new AbortController().signal,
    };
    const model = write("tagger", { task: "ner", labels: ["O", "B-Disease", "I-Disease"] });
    const { output, items } = await predictTask(ner as AnyTask, { ...request, model });
    assertEquals(items, 3);
    const lines = output.trimEnd().split("\n").map((line) => JSON.parse(line));
    assertEquals(lines.map((l) => l.text), ["Gout is painful. So is flu.", "Nothing here"]);
    for (const { text, entities } of lines) {
      for (const e of entities) {
        assertEquals([e.type, text.slice(e.start, e.end)], ["Disease", e.text]);
      }
    }
    const untaught = await assertRejects(
      () => predictTask(ner as AnyTask, { ...request, model: write("plain") }),
      UserError,
    );
    assertStringIncludes(untaught.message, "its folder keeps no labels; teach it first");
    const other = write("other", { task: "relations", labels: ["A", "B"] });
    await assertRejects(
      () => predictTask(ner as AnyTask, { ...request, model: other }),
      UserError,
      "it was taught the task relations",
    );
    const sentences = join(dir, "s.jsonl");
    Deno.writeTextFileSync(sentences, JSON.stringify({ text: "<< a >> b [[ c ]]" }) + "\n");
    const given = givenOf({ input: sentences });
    const named = await predictTask(relations as AnyTask, { ...request, given, model: other });
    assert(["A", "B"].includes(JSON.parse(named.output).label));
  }));
