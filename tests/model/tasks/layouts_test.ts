/** Sets in the layouts that their authors release: folders, names of files, odd rows. All invented. */
import { join } from "../../../core/std.ts";
import { choices } from "../../../model/tasks/choices/task.ts";
import { type AnnotatedDocument, readRecords } from "../../../model/tasks/formats/mod.ts";
import { findSplits } from "../../../model/tasks/formats/splits.ts";
import { ner } from "../../../model/tasks/ner/task.ts";
import { readRelations } from "../../../model/tasks/relations/relations.ts";
import { relations } from "../../../model/tasks/relations/task.ts";
import { assert, assertEquals, assertThrows } from "../../assert.ts";
import { withFolder } from "../helpers.ts";
import { givenOf, put } from "./helpers.ts";

const PUBTATOR = "12|t|Zeratin and ulcers.\n12|a|Ulcers followed zeratin.\n" +
  "12\t0\t7\tZeratin\tChemical\tD1\n12\t12\t18\tulcers\tDisease\tD2\n" +
  "12\t20\t26\tUlcers\tDisease\tD2\n12\t36\t43\tzeratin\tChemical\tD1\n12\tCID\tD1\tD2\n";

const BIOC = `<?xml version='1.0' encoding='utf-8'?><!DOCTYPE collection SYSTEM "BioC.dtd">
<collection><source>x</source><date/><key/><document><id>12</id><passage>
<infon key="type">title</infon><offset>0</offset><text>Zeratin and ulcers.</text>
<annotation id="0"><infon key="type">Chemical</infon><infon key="MESH">D1</infon>
<location offset="0" length="7"/><text>Zeratin</text></annotation>
<annotation id="1"><infon key="type">Disease</infon><infon key="MESH">D2</infon>
<location offset="12" length="6"/><text>ulcers</text></annotation></passage>
<relation id="R0"><infon key="relation">CID</infon><infon key="Chemical">D1</infon>
<infon key="Disease">D2</infon></relation></document></collection>
`;

Deno.test("BC5CDR lies in two formats side by side, NCBI-disease says its splits within words", () =>
  withFolder((dir) => {
    for (const split of ["Training", "Development", "Test"]) {
      put(dir, {
        [`cdr/CDR_${split}Set.PubTator.txt`]: PUBTATOR,
        [`cdr/CDR_${split}Set.BioC.xml`]: BIOC,
      });
    }
    const names = (splits: ReturnType<typeof findSplits>) =>
      Object.values(splits).map((path) => path?.slice(path.lastIndexOf("/") + 1));
    assertEquals(names(findSplits(join(dir, "cdr"))), [
      "CDR_TrainingSet.PubTator.txt",
      "CDR_DevelopmentSet.PubTator.txt",
      "CDR_TestSet.PubTator.txt",
    ]);
    assertEquals(names(findSplits(join(dir, "cdr"), "bioc-xml"))[0], "CDR_TrainingSet.BioC.xml");
    const data = join(dir, "cdr");
    const one = relations.read(givenOf({ data, format: "bioc-xml" }), "finetune");
    assertEquals(one.train.map((r) => r.label), ["CID"]);
    put(dir, {
      "ncbi/NCBItrainset_corpus.txt": "\n" + PUBTATOR,
      "ncbi/NCBIdevelopset_corpus.txt": PUBTATOR,
      "ncbi/NCBItestset_corpus.txt": "\ufeff" + PUBTATOR.replaceAll("\n", "\r\n"),
    });
    const ncbi = ner.read(givenOf({ data: join(dir, "ncbi") }), "finetune");
    assertEquals([ncbi.train.length, ncbi.develop.length, ncbi.test.length], [2, 2, 2]);
    assertEquals(ncbi.test.map((s) => s.tags), ncbi.train.map((s) => s.tags));
  }));

Deno.test("ChemProt: what is not evaluated is no relation, a pair with two is an example of each", () =>
  withFolder((dir) => {
    put(dir, {
      "chemprot_training/chemprot_training_abstracts.tsv": "7\tZeratin.\tIt binds ABC and DEF.\n",
      "chemprot_training/chemprot_training_entities.tsv": "7\tT1\tCHEMICAL\t9\t11\tIt\n" +
        "7\tT2\tGENE-Y\t18\t21\tABC\n7\tT3\tGENE-N\t26\t29\tDEF\n",
      "chemprot_training/chemprot_training_relations.tsv":
        "7\tCPR:3\tY \tUPREGULATOR\tArg1:T1\tArg2:T2\n" +
        "7\tCPR:9\tY \tSUBSTRATE\tArg1:T1\tArg2:T2\n" +
        "7\tCPR:1\tN \tPART-OF\tArg1:T1\tArg2:T3\n",
    });
    const { items } = readRelations(join(dir, "chemprot_training"));
    assertEquals(items.map(({ text, label }) => [label, text]), [
      ["CPR:3", "<< It >> binds [[ ABC ]] and DEF."],
      ["CPR:9", "<< It >> binds [[ ABC ]] and DEF."],
    ]);
    // With another relation of these types, the pair that is not evaluated has none.
    put(dir, {
      "chemprot_training/chemprot_training_relations.tsv":
        "7\tCPR:3\tY \tUPREGULATOR\tArg1:T1\tArg2:T2\n" +
        "7\tCPR:3\tY \tUPREGULATOR\tArg1:T1\tArg2:T3\n" +
        "8\tCPR:1\tN \tPART-OF\tArg1:T1\tArg2:T2\n",
      "chemprot_training/chemprot_training_abstracts.tsv":
        "7\tZeratin.\tIt binds ABC and DEF.\n8\tA.\tIt has ABC.\n",
      "chemprot_training/chemprot_training_entities.tsv": "7\tT1\tCHEMICAL\t9\t11\tIt\n" +
        "7\tT2\tGENE-Y\t18\t21\tABC\n7\tT3\tGENE-N\t26\t29\tDEF\n" +
        "8\tT1\tCHEMICAL\t3\t5\tIt\n8\tT2\tGENE-Y\t10\t13\tABC\n",
    });
    const gold = join(dir, "chemprot_training");
    const data = relations.read(givenOf({ gold }), "evaluate");
    assertEquals(data.test.map((r) => r.label), ["CPR:3", "CPR:3", "false"]);
    assertEquals([data.labels, data.negative], [["CPR:3", "false"], "false"]);
  }));

const ddiXml = (id: string, pair: string) =>
  `<?xml version="1.0" encoding="UTF-8"?>\n<document id="${id}"><sentence id="${id}.s0" ` +
  `text="Zeratin raises mylol."><entity id="${id}.e0" charOffset="0-6" type="drug" text="Zeratin"/>` +
  `<entity id="${id}.e1" charOffset="15-19" type="brand" text="mylol"/>` +
  `<pair id="${id}.p0" e1="${id}.e0" e2="${id}.e1" ${pair}/></sentence></document>\n`;

Deno.test("DDI: DrugBank's and MEDLINE's folders are one split; BLUE's rows of it", () =>
  withFolder((dir) => {
    for (const split of ["Train", "Test"]) {
      put(dir, {
        [`ddi/${split}/DrugBank/a_ddi.xml`]: ddiXml("a", 'ddi="true" type="effect"'),
        [`ddi/${split}/MedLine/b.xml`]: ddiXml("b", 'ddi="false"'),
        [`ddi/${split}/MedLine/c.xml`]: ddiXml("c", 'ddi="true"'),
      });
    }
    const { format, records } = readRecords(join(dir, "ddi/Train"));
    assertEquals([format.name, records.length], ["ddi", 3]);
    assertEquals((records as AnnotatedDocument[]).map((d) => d.id), ["a", "b", "c"]);
    const data = relations.read(givenOf({ data: join(dir, "ddi") }), "finetune");
    assertEquals(data.labels, ["effect", "false", "int"]);
    assertEquals([data.train.length + data.develop.length, data.test.length], [3, 3]);
    put(dir, {
      "blue.tsv": "index\tsentence\tlabel\nd.p0\t@drug$ raises @brand$ levels.\tDDI-effect\n" +
        "d.p1\t@drug$ and @drug_n$ are given.\tDDI-false\n" +
        "d.p2\tThe @CHEM-GENE$ is both of them.\tDDI-false\n",
    });
    const blue = relations.read(givenOf({ gold: join(dir, "blue.tsv") }), "evaluate");
    assertEquals(blue.negative, "DDI-false");
    assertEquals(blue.test.map((r) => r.text), [
      "<< @drug$ >> raises [[ @brand$ ]] levels.",
      "<< @drug$ >> and [[ @drug_n$ ]] are given.",
      "The << @CHEM-GENE$ >> [[ @CHEM-GENE$ ]] is both of them.",
    ]);
  }));

Deno.test("columns with a heading; MedQA's lists of options; MMLU's subjects in a folder", () =>
  withFolder((dir) => {
    put(dir, {
      "headed.tsv": "Token\tTag\nFever\tB-Disease\nfell\tO\n\nIL-2\tB-Gene\n",
      "four.conll": "-DOCSTART- -X- -X- O\n\nIL-2 NN B-NP B-DNA\ngene NN I-NP I-DNA\n",
      "medqa.jsonl": JSON.stringify({
        question: "Which drug?",
        options: [{ key: "A", value: "Zeratin" }, { key: "B", value: "Mylol" }],
        answer_idx: "B",
        answer: "Mylol",
      }) + "\n",
      "test/anatomy_test.csv": '"Where, then?",a,b,c,d,C\nWhat?,e,f,g,h,A\n',
      "test/virology_test.csv": "Who?,a,b,c,d,D\n",
      "test/astronomy_test.csv": "When?,a,b,c,d,B\n",
    });
    const tags = (name: string) =>
      ner.read(givenOf({ gold: join(dir, name) }), "evaluate").test.map((s) => s.tags);
    assertEquals(tags("headed.tsv"), [["B-Disease", "O"], ["B-Gene"]]);
    assertEquals(tags("four.conll"), [["B-DNA", "I-DNA"]]);
    const asked = (gold: string) => choices.read(givenOf({ gold: join(dir, gold) }), "evaluate");
    assertEquals(asked("medqa.jsonl").test.map((q) => [q.options, q.answer]), [
      [["Zeratin", "Mylol"], { type: "choice", index: 1 }],
    ]);
    assertEquals(asked("test").test.map((q) => q.id), ["anatomy.0", "anatomy.1", "virology.0"]);
    assert(asked("test").labels.length === 4);
    put(dir, { "bad.tsv": "Fever\tB-Disease\nToken\tTag\n" });
    assertThrows(() => tags("bad.tsv"), Error, "line 2");
  }));
