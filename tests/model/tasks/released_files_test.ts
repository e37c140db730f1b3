/** Tasks read the files of their fields as released: whatever the format, and whatever a file is called. */
import { join } from "../../../core/std.ts";
import type { Given } from "../../../model/tasks/core/task.ts";
import { choices } from "../../../model/tasks/choices/task.ts";
import { classify } from "../../../model/tasks/classify/task.ts";
import { convert } from "../../../model/tasks/formats/convert.ts";
import { findSplits } from "../../../model/tasks/formats/splits.ts";
import { ner } from "../../../model/tasks/ner/task.ts";
import { relations } from "../../../model/tasks/relations/task.ts";
import {
  compareRelations,
  readRelationDocuments,
} from "../../../model/tasks/relations/relations.ts";
import { assert, assertEquals, assertThrows } from "../../assert.ts";
import { put } from "./helpers.ts";
import { SHARED, sharedTest } from "../../shared.ts";
import { withFolder } from "../helpers.ts";

/** Options as a command gives them. */
const given = (options: Record<string, string>): Given => ({
  json: false,
  string: (name) => options[name],
  number: () => undefined,
  boolean: () => false,
});

const BARE = "Gastric\tB\npain\tI\nand\tO\nfever\tB\n\nNothing\tO\n";
const PUBTATOR = "12|t|Zeratin and ulcers.\n12|a|Ulcers followed zeratin.\n" +
  "12\t0\t7\tZeratin\tChemical\tD1\n12\t12\t18\tulcers\tDisease\tD2\n" +
  "12\t20\t26\tUlcers\tDisease\tD2\n12\t36\t43\tzeratin\tChemical\tD1\n12\tCID\tD1\tD2\n";

Deno.test("ner reads BioBERT's bare tags, documents of PubTator, and folders of splits", () =>
  withFolder((folder) => {
    put(folder, {
      "set/train_dev.tsv": BARE,
      "set/train.tsv": BARE,
      "set/devel.tsv": BARE,
      "set/test.tsv": BARE,
      "gold.xyz": PUBTATOR,
    });
    const bare = ner.read(given({ data: join(folder, "set") }), "finetune");
    assertEquals(bare.labels, ["O", "B-Entity", "I-Entity"]);
    assertEquals(bare.train.map((s) => s.tags), [["B-Entity", "I-Entity", "O", "B-Entity"], ["O"]]);
    const documents = ner.read(given({ gold: join(folder, "gold.xyz") }), "evaluate");
    assertEquals(documents.labels, ["O", "B-Chemical", "I-Chemical", "B-Disease", "I-Disease"]);
    assertEquals(documents.test.map((s) => s.tokens.join(" ")), [
      "Zeratin and ulcers .",
      "Ulcers followed zeratin .",
    ]);
    assertThrows(
      () => ner.read(given({ gold: join(folder, "gold.xyz"), format: "conll" }), "evaluate"),
      Error,
      "line 1",
    );
    Deno.writeTextFileSync(join(folder, "gold.xyz"), "Fever\tO\nis\tQ\nhot\tQ\n");
    assertThrows(
      () => ner.read(given({ gold: join(folder, "gold.xyz") }), "evaluate"),
      Error,
      'line 2: "is\tQ" is not a token and a tag',
    );
  }));

Deno.test("splits are told by whole words of names; what is missing or double is named", () =>
  withFolder((folder) => {
    const bioc = (name: string) => ({ [name]: PUBTATOR });
    put(folder, {
      ...bioc("CDR_TrainingSet.PubTator.txt"),
      ...bioc("CDR_DevelopmentSet.PubTator.txt"),
      ...bioc("CDR_TestSet.PubTator.txt"),
      "README": "a test of training",
    });
    assertEquals(
      Object.values(findSplits(folder)).map((path) => path.slice(folder.length + 1)),
      [
        "CDR_TrainingSet.PubTator.txt",
        "CDR_DevelopmentSet.PubTator.txt",
        "CDR_TestSet.PubTator.txt",
      ],
    );
    put(folder, bioc("other.test.txt"));
    assertThrows(() => findSplits(folder), Error, "could both be its test split");
    Deno.removeSync(join(folder, "other.test.txt"));
    // Without a development split one is drawn; one that cannot be read is named.
    Deno.removeSync(join(folder, "CDR_DevelopmentSet.PubTator.txt"));
    assertEquals(Object.values(findSplits(folder))[1], undefined);
    put(folder, { "CDR_DevelopmentSet.PubTator.txt": "nothing known" });
    assertThrows(
      () => findSplits(folder),
      Error,
      "is the development (dev, devel or validation) split",
    );
    Deno.removeSync(join(folder, "CDR_DevelopmentSet.PubTator.txt"));
    Deno.removeSync(join(folder, "CDR_TestSet.PubTator.txt"));
    assertThrows(() => findSplits(folder), Error, "is the test split of a known format");
  }));

Deno.test("relations read BioBERT's GAD, pairs of documents, and ChemProt as released", () =>
  withFolder((folder) => {
    put(folder, {
      "gad.tsv": "index\tsentence\tlabel\n0\tLoss of @GENE$ leads to @DISEASE$.\t1\n" +
        "1\tNo link of @GENE$ with @DISEASE$.\t0\n",
      "cdr": PUBTATOR,
      "chemprot/a.tsv": "5\tZeratin and ABL.\tZeratin inhibits ABL.\n",
      "chemprot/e.tsv": "5\tT1\tCHEMICAL\t17\t24\tZeratin\n5\tT2\tGENE-Y\t34\t37\tABL\n",
      "chemprot/r.tsv": "5\tCPR:4\tY \tINHIBITOR\tArg1:T1\tArg2:T2\n" +
        "5\tCPR:1\tN\tPART-OF\tArg1:T1\tArg2:T2\n",
      "system/a.tsv": "5\tZeratin and ABL.\tZeratin inhibits ABL.\n",
      "system/e.tsv": "5\tT1\tCHEMICAL\t17\t24\tZeratin\n5\tT2\tGENE-Y\t34\t37\tABL\n",
      "system/r.tsv": "5\tCPR:3\tArg1:T1\tArg2:T2\n",
    });
    const gad = relations.read(given({ gold: join(folder, "gad.tsv") }), "evaluate");
    assertEquals([gad.labels, gad.negative], [["0", "1"], "0"]);
    assertEquals(gad.test[0]?.text, "Loss of << @GENE$ >> leads to [[ @DISEASE$ ]].");
    const cdr = relations.read(given({ gold: join(folder, "cdr") }), "evaluate");
    assertEquals(cdr.test.map((e) => [e.text, e.label]), [
      ["<< Zeratin >> and [[ ulcers ]].", "CID"],
      ["[[ Ulcers ]] followed << zeratin >>.", "CID"],
    ]);
    const gold = readRelationDocuments(join(folder, "chemprot"));
    assertEquals(gold[0]?.relations, [{
      type: "CPR:4",
      first: "CHEMICAL 17-24",
      second: "GENE-Y 34-37",
    }]);
    const system = readRelationDocuments(join(folder, "system"));
    assertEquals(compareRelations(gold, system), [
      { truePositives: 0, falsePositives: 1, falseNegatives: 1 },
    ]);
    const options = given({ gold: join(folder, "cdr"), system: join(folder, "cdr") });
    assertEquals(relations.variant?.(options)?.units, "documents");
    assertEquals(
      relations.variant?.(given({ gold: join(folder, "gad.tsv"), system: "x" })),
      undefined,
    );
  }));

Deno.test("choices: MedQA and MMLU; classify: NLI4CT's and tables' labels", () =>
  withFolder((folder) => {
    const question = (id: string, letter: string) =>
      JSON.stringify({
        id,
        question: "Which?",
        options: { A: "one", B: "two" },
        answer_idx: letter,
      }) + "\n";
    put(folder, {
      "q/train.jsonl": question("1", "A"),
      "q/dev.jsonl": question("2", "B"),
      "q/test.jsonl": question("3", "B"),
      "nli": "id\ttext\thypothesis\tlabel\na\tOne trial.\tIt helped.\tEntailment\n",
      "scores": "sentence1\tsentence2\tscore\nOne two.\tThree.\t2.5\n",
      "answers.json": JSON.stringify({ 3: "b" }),
    });
    const data = choices.read(given({ data: join(folder, "q") }), "finetune");
    assertEquals([data.labels, data.test.length], [["A", "B"], 1]);
    const [answer] = choices.readAnswers?.(join(folder, "answers.json"), data) ?? [];
    assertEquals([answer?.predicted, answer?.item.gold], [1, 1]);
    assert(answer?.item.prompt.endsWith("Question: Which?\n\nA. one\nB. two\n\nAnswer:"));
    const nli = classify.read(given({ gold: join(folder, "nli") }), "evaluate");
    assertEquals([nli.labels, nli.test[0]?.pair], [["Entailment"], "It helped."]);
    assertThrows(
      () => classify.read(given({ gold: join(folder, "scores") }), "evaluate"),
      Error,
      "has the score 2.5, where one label is needed",
    );
  }));

sharedTest(
  "data/eval/ner",
  "ner reads the same sentences from every form of one set",
  () =>
    withFolder((folder) => {
      const gold = join(SHARED, "data/eval/ner/NCBI-disease-IOB/devel.tsv");
      const want = ner.read(given({ gold }), "evaluate").test;
      for (const to of ["bioes", "conll"]) {
        const out = join(folder, `${to}.any`);
        convert({ input: gold, out, to });
        const got = ner.read(given({ gold: out }), "evaluate").test;
        assertEquals(got.map((s) => [s.tokens, s.tags]), want.map((s) => [s.tokens, s.tags]));
      }
    }),
);
