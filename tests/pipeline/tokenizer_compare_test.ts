import { withFolder } from "./support.ts";
import { article, pubmedSet, putFile } from "./support.ts";
import { join } from "../../core/std.ts";
import { readCatalogue } from "../../pipeline/corpus.ts";
import { corpusTerms } from "../../pipeline/documents/terms.ts";
import { runPipeline } from "../../pipeline/run.ts";
import { FertilityCounter } from "../../pipeline/tokenizer/fertility.ts";
import { tokenizerFromJson, trainTokenizer } from "../../pipeline/tokenizer/mod.ts";
import { assertEquals } from "../assert.ts";

Deno.test("tokenizer comparison: words, bytes and tokens are counted", () => {
  const tokenizer = tokenizerFromJson(trainTokenizer(["abc abc abc"], 300));
  const counter = new FertilityCounter(tokenizer);
  counter.add("terms", " abc");
  counter.add("terms", " abc zz");
  // " abc" is one token, " zz" three bytes of which none were ever joined.
  assertEquals(counter.kinds.get("terms"), {
    texts: 2,
    words: 3,
    bytes: 11,
    tokens: 5,
    single: 1,
  });
});

Deno.test("tokenizer comparison: terms by kind, of live citations", () =>
  withFolder(async (folder) => {
    const mirror = join(folder, "mirror");
    const corpus = join(folder, "corpus");
    const indexed = article(1).replace(
      "</Article>",
      "</Article><ChemicalList>" +
        ["Metformin", "TP53 protein, human"].map((name) =>
          `<Chemical><RegistryNumber>0</RegistryNumber><NameOfSubstance UI="D1">${name}` +
          "</NameOfSubstance></Chemical>"
        ).join("") + "</ChemicalList><MeshHeadingList>" +
        `<MeshHeading><DescriptorName UI="D2" MajorTopicYN="N">Asthma</DescriptorName>` +
        `<QualifierName UI="Q1" MajorTopicYN="N">drug therapy</QualifierName></MeshHeading>` +
        `<MeshHeading><DescriptorName UI="D3" MajorTopicYN="N">Humans</DescriptorName>` +
        "</MeshHeading></MeshHeadingList>",
    );
    putFile(mirror, "baseline", 1, pubmedSet(indexed));
    await runPipeline({ corpus, source: mirror, workers: 1 });
    const catalogue = readCatalogue(corpus);
    const terms = await corpusTerms(corpus, catalogue);
    catalogue.close();
    assertEquals(Object.fromEntries(terms), {
      substances: ["Metformin"],
      genes: ["TP53"],
      diseases: ["Asthma"],
      "MeSH headings": ["Asthma", "Humans"],
    });
  }));
