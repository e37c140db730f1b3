import { shortName } from "../../../model/tasks/perplexity/page.ts";
import { confusionMatrix } from "../../../model/tasks/core/classification.ts";
import { errorPage, namedLines } from "../../../model/tasks/core/error_page.ts";
import { escapeLatex, latexTable } from "../../../model/tasks/core/latex.ts";
import { measureScore } from "../../../model/tasks/core/report.ts";
import { markedSentence, typeConfusion } from "../../../model/tasks/ner/ner_report.ts";
import { assert, assertEquals, assertStringIncludes } from "../../assert.ts";

Deno.test("confusionMatrix() has golden labels as rows, and no answer last", () => {
  const items = { gold: [0, 0, 1, 1, 1], predicted: [0, 1, 1, -1, 5] };
  assertEquals(confusionMatrix(items, 2), [[1, 1, 0], [0, 1, 2]]);
});

Deno.test("typeConfusion() compares types where bounds are equal", () => {
  const tokens = ["a", "b", "c", "d"];
  const sentence = { tokens, tags: ["B-X", "I-X", "O", "B-Y"], line: 1 };
  const { gold, matrix } = typeConfusion([sentence], [["B-Y", "I-Y", "B-X", "O"]]);
  assertEquals(gold, ["X", "Y", "none"]);
  // X was called Y, Y was not found, and an X was found where there is nothing.
  assertEquals(matrix, [[0, 1, 0], [0, 0, 1], [1, 0, 0]]);
});

Deno.test("the page of errors has the worst first, and nothing of the data as markup", () => {
  const item = (id: string, loss: number, text: string) => ({
    id,
    right: false,
    loss,
    html: namedLines([["said", text.replaceAll("<", "&lt;")]]),
  });
  const page = errorPage("ner", "<runs/x>", [item("a", 0.5, "mild"), item("<b>", 2, "<high>")], 9);
  assertEquals([page.key, page.name, page.extension], ["errors", "errors_ner", ".html"]);
  const { contents } = page;
  assert(contents.indexOf("&lt;high>") < contents.indexOf("mild"));
  assertStringIncludes(contents, "&lt;runs/x&gt;: 2 of 9 are wrong");
  assertStringIncludes(contents, "&lt;b&gt;");
  assertStringIncludes(contents, "default-src 'none'");
});

Deno.test("a wrong sentence shows what was missed and what was made up", () => {
  const tokens = ["has", "<gout>", "and", "flu"];
  const sentence = { tokens, tags: ["O", "B-D", "O", "B-D"], line: 1 };
  const html = markedSentence(sentence, ["B-D", "O", "O", "B-D"]);
  assertStringIncludes(html, '<mark class="missed">&lt;gout&gt;<small>D</small></mark>');
  assertStringIncludes(html, '<mark class="wrong">has<small>D</small></mark>');
  assertEquals(html.match(/<mark class="right">flu/g)?.length, 2);
});

Deno.test("latexTable() gives each measure with its interval, in percent", () => {
  const score = {
    measures: [{ key: "acc", name: "accuracy", count: 4, statistic: () => 0.5 }],
  };
  const measured = measureScore(score, 0);
  const table = latexTable("toy, 4 questions", [{
    key: "model",
    name: "a_b & c",
    score,
    measured,
  }]);
  assertStringIncludes(table, "a\\_b \\& c & 50.0 \\\\");
  assertStringIncludes(table, "{\\scriptsize 50.0--50.0}");
  assertEquals(escapeLatex("50% {x} ^ \\"), "50\\% \\{x\\} \\textasciicircum{} \\textbackslash{}");
});

Deno.test("a page of perplexity is headed by the run and step, a folder's name, or the hub's id", () => {
  assertEquals(
    [
      "/data/runs/bio/checkpoints/step-00012000",
      "/data/models/bio",
      "state-spaces/mamba-130m-hf",
    ].map(shortName),
    ["bio, step 12,000", "bio", "state-spaces/mamba-130m-hf"],
  );
});
