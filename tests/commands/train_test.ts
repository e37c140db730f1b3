/** The commands `train`, `evaluate perplexity` and `export` as a user calls them, on a real corpus. */
import { dirname, join } from "../../core/std.ts";
import { checkpointPath, listCheckpoints } from "../../model/training/checkpoint.ts";
import { presetConfig } from "../../model/mamba/config.ts";
import { writeModelFolder } from "../../model/weights/folder.ts";
import { initialParameters } from "../../model/mamba/initialize.ts";
import { readMetrics, runFigures } from "../../model/training/metrics.ts";
import { Random } from "../../model/mamba/random.ts";
import { buildShards, writeTokenFile } from "../../pipeline/shards/mod.ts";
import { loadTokenizer } from "../../pipeline/tokenizer/mod.ts";
import { assert, assertEquals, assertStringIncludes } from "../assert.ts";
import { withFolder } from "../model/helpers.ts";
import { serveHub } from "../model/weights/hub_server.ts";
import { ROOT, runTask, taskWords } from "../shared.ts";

/** A corpus of 300 invented documents, tokenized with the fixtures' tokenizer. */
async function makeCorpus(corpus: string): Promise<void> {
  const tokenizer = loadTokenizer(join(ROOT, "fixtures", "tokenizer.json"));
  const words = "the trial of a new drug in patients with fever showed no effect".split(" ");
  const random = new Random(1, "documents");
  const documents = Array.from({ length: 300 }, (_, i) => ({
    pmid: i + 1,
    version: 1,
    ordinal: i,
    text: Array.from({ length: 30 }, () => words[random.integer(words.length)]).join(" "),
  }));
  const path = join(corpus, "tokens", "one.tokens");
  const seed = 0;
  Deno.mkdirSync(join(corpus, "tokens"), { recursive: true });
  writeTokenFile(path, "one", documents, tokenizer, seed);
  await buildShards({
    corpus,
    tokenFiles: [{ source: "one", path }],
    live: { isLive: () => true },
    tokenizer,
    sequenceLength: 32,
    seed,
    validation: 0.1,
    test: 0.1,
    sourceFiles: [{ name: "one", md5: "0".repeat(32) }],
  });
}

const FIXTURE_TOKENIZER = join(ROOT, "fixtures", "tokenizer.json");

const start = (...args: string[]) =>
  new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", join(ROOT, "main.ts"), ...args],
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1" },
  }).spawn();

async function run(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await start(...args).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

/** Waits until a run has at least so many lines of metrics. */
async function reached(run: string, steps: number): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (readMetrics(run).length < steps) {
    assert(Date.now() < deadline, `${run} did not reach step ${steps}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const OPTIONS = [
  "--init=random:tiny",
  "--steps=40",
  "--batch-size=2",
  "--learning-rate=0.01",
  "--checkpoint-every=10",
  "--validate-every=20",
  "--set=validation.rows=1000",
];

Deno.test("train, evaluate perplexity and export work from end to end", () =>
  withFolder(async (dir) => {
    const corpus = join(dir, "corpus");
    const runs = { whole: join(dir, "whole"), cut: join(dir, "cut") };
    await makeCorpus(corpus);
    const whole = await run("train", "--corpus", corpus, "--out", runs.whole, ...OPTIONS, "--json");
    assertEquals(whole.code, 0, whole.stderr);
    const result = JSON.parse(whole.stdout.trim().split("\n").at(-1)!);
    assertEquals([result.step, result.finished], [40, true]);
    const metrics = readMetrics(runs.whole);
    assert(metrics.at(-1)!.loss < 0.7 * metrics[0]!.loss, "the loss falls");

    const planned = await run(
      "train",
      "--corpus",
      corpus,
      "--init=random:mamba-130m",
      "--plan",
      "--json",
    );
    const plan = JSON.parse(planned.stdout.trim().split("\n").at(-1)!);
    assert(plan.parameters > 9e7 && plan.keep.total > 16 * plan.parameters, planned.stdout);
    assert(plan.recompute.total < plan.keep.total);
    assertStringIncludes(planned.stdout, "8 rows of 32 tokens");

    // Killed, then interrupted, then left alone: the bytes are the same.
    const killed = start("train", "--corpus", corpus, "--out", runs.cut, ...OPTIONS);
    await reached(runs.cut, 3 + Math.floor(20 * Math.random()));
    killed.kill("SIGKILL");
    await killed.output();
    const stopped = start("train", "--out", runs.cut, "--resume");
    await reached(runs.cut, Math.min(30, readMetrics(runs.cut).length + 2));
    stopped.kill(Math.random() < 0.5 ? "SIGINT" : "SIGTERM");
    const { code, stderr } = await stopped.output();
    const said = new TextDecoder().decode(stderr);
    assertEquals(code, 130, said);
    assertStringIncludes(said, `--out ${runs.cut} --resume`);
    const rest = await run("train", "--out", runs.cut, "--resume");
    assertEquals(rest.code, 0, rest.stderr);
    for (const file of ["model.safetensors", "optimizer.safetensors", "tokenizer.json"]) {
      assertEquals(
        Deno.readFileSync(join(checkpointPath(runs.cut, 40), file)),
        Deno.readFileSync(join(checkpointPath(runs.whole, 40), file)),
        file,
      );
    }

    const model = join(dir, "model");
    const exported = await run("export", "--run", runs.whole, "--out", model);
    assertEquals(exported.code, 0, exported.stderr);
    const perplexity = async (folder: string) => {
      const { code, stdout, stderr } = await run(
        "evaluate",
        "perplexity",
        "--model",
        folder,
        "--corpus",
        corpus,
        "--split=validation",
        "--json",
      );
      assertEquals(code, 0, stderr);
      return JSON.parse(stdout.trim().split("\n").at(-1)!);
    };
    const after = await perplexity(model);
    // Terminal, record, report, comparison, card and evaluation tell one and the same.
    const figures = runFigures(metrics);
    const end = metrics.at(-1);
    assertEquals(
      [
        result.loss,
        result.validation_loss,
        result.seconds,
        result.tokens_per_second,
        result.tokens,
      ],
      [end?.loss, end?.validation_loss, figures.seconds, figures.tokensPerSecond, figures.tokens],
    );
    assertStringIncludes(whole.stdout, end?.loss.toFixed(4) ?? "");
    const speed = Math.round(figures.tokensPerSecond).toLocaleString("en");
    const report = Deno.readTextFileSync(join(runs.whole, "report.html"));
    for (const text of [whole.stdout, report]) assertStringIncludes(text, speed);
    const comparison = join(dir, "comparison.html");
    const compared = await run("compare", runs.whole, runs.cut, "--out", comparison, "--json");
    const [{ seconds, tokens_per_second, loss, tokens }] = JSON.parse(
      compared.stdout.trim().split("\n").at(-1) ?? "",
    ).runs;
    assertEquals(
      [seconds, tokens_per_second, loss, tokens],
      [result.seconds, result.tokens_per_second, result.loss, result.tokens],
    );
    const validation = Math.exp(end?.validation_loss ?? NaN).toFixed(3);
    const card = Deno.readTextFileSync(join(model, "README.md"));
    for (const text of [whole.stdout, card]) assertStringIncludes(text, validation);
    assertEquals([after.rows, after.tokens > 0], [after.of_rows, true]);
    await hubServes(model, join(dir, "hub"), async (hub) => {
      const { code, stdout, stderr } = await hub(
        "evaluate",
        "perplexity",
        "--model=org/model@v1",
        "--corpus",
        corpus,
        "--split=validation",
        "--json",
      );
      assertEquals(code, 0, stderr);
      const { model: name, perplexity } = JSON.parse(stdout.trim().split("\n").at(-1)!);
      assertEquals([name, perplexity], ["org/model@v1", after.perplexity]);
    });
    assert(after.perplexity < 200 && after.bits_per_byte > 0.1, JSON.stringify(after));
    assert(Math.abs(Math.log(after.perplexity) - metrics.at(-1)!.validation_loss!) < 1e-4);

    const refuses = async (message: string, ...args: string[]) => {
      const { code, stderr } = await run(...args);
      assertEquals(code, 1, stderr);
      assertStringIncludes(stderr, message);
    };
    const last = listCheckpoints(runs.whole).at(-1)!.path;
    const bad = join(dir, "bad");
    Deno.writeTextFileSync(join(model, "tokenizer.json"), '{"model":{"vocab":{"a":1}}}');
    await refuses("another tokenizer", "train", "--corpus", corpus, "--init", model, "--out", bad);
    const again = ["train", "--corpus", corpus, "--out", runs.whole, ...OPTIONS];
    await refuses("there is one already", ...again);
    await refuses("no such folder", "evaluate", "perplexity", "--model", last, "--corpus", bad);
    assert(![...Deno.readDirSync(dir)].some((e) => e.name === "bad"), "nothing is half-written");
  }));

Deno.test("train --plan counts published sizes without a corpus or a run, within 16 and 4 GB", () =>
  withFolder(async (dir) => {
    const planned = async (...args: string[]) => {
      const { code, stdout, stderr } = await run(
        "train",
        "--plan",
        "--init=random:mamba-130m",
        "--json",
        ...args,
      );
      assertEquals(code, 0, stderr);
      return JSON.parse(stdout.trim().split("\n").at(-1)!);
    };
    const large = await planned("--batch-size=8");
    const one = await planned("--batch-size=1", "--sequence-length=512");
    assertEquals([large.parameters, one.parameters], [129_135_360, 129_135_360]);
    assert(large.keep.total < 16e9, `8 x 1,024 takes ${large.keep.total}`);
    assert(one.keep.total < 4e9, `1 x 512 takes ${one.keep.total}`);
    type Tensor = { name: string; count: number; bytes: number };
    for (const { tensors, total } of [large.keep, large.recompute, one.keep]) {
      assertEquals((tensors as Tensor[]).reduce((sum, { bytes }) => sum + bytes, 0), total);
    }
    const inProj = (large.keep.tensors as Tensor[]).find((t) => t.name === "mixer.in_proj.weight")!;
    // With gradient and two moments, of 24 layers of 3,072 x 768.
    assertEquals([inProj.count, inProj.bytes], [24, 24 * 3072 * 768 * 4 * 4]);
    const refuses = async (message: string, ...args: string[]) => {
      const { code, stderr } = await run("train", "--init=random:tiny", ...args);
      assertEquals(code, 2, stderr);
      assertStringIncludes(stderr, message);
    };
    await refuses("Missing --out RUN", "--corpus", dir);
    await refuses("Missing --corpus DIR or --mix", "--out", join(dir, "run"));
    assertEquals([...Deno.readDirSync(dir)], []);
  }));

Deno.test("train --plan --ranks counts a rank's slices and what it exchanges through", () =>
  withFolder(async (dir) => {
    const words = ["train", "--plan", "--init=random:mamba-130m", "--batch-size=2"];
    const planned = async (...args: string[]) => {
      const { code, stdout, stderr } = await run(...words, "--json", ...args);
      assertEquals(code, 0, stderr);
      const plan = JSON.parse(stdout.trim().split("\n").at(-1)!);
      const parts = plan.keep.parts as { name: string; bytes: number }[];
      return { stdout, plan, parts: new Map(parts.map(({ name, bytes }) => [name, bytes])) };
    };
    const steps = ["--accumulate=8", "--lanes=8"];
    const alone = await planned(...steps);
    const eight = await planned(...steps, "--ranks=8");
    assertStringIncludes(eight.stdout, "8; all figures are of each");
    assertEquals([alone.plan.ranks, eight.plan.ranks], [undefined, 8]);
    for (const name of ["first moments", "second moments"]) {
      const whole = alone.parts.get(name)!;
      const share = 8 * eight.parts.get(name)! / whole;
      assert(share > 0.95 && share < 1.05, `${name}: ${share} of an eighth`);
    }
    for (const name of ["parameters", "gradients"]) {
      assertEquals(eight.parts.get(name), alone.parts.get(name));
    }
    // Three waiting sums of lanes for one process with all lanes, none where each rank has one.
    assertEquals(alone.parts.get("sums of lanes"), 3 * alone.parts.get("gradients")!);
    assertEquals(eight.parts.get("sums of lanes"), undefined);
    assertEquals(alone.parts.get("exchange between ranks"), undefined);
    // Two buckets, and a bucket's parts from all ranks.
    const exchange = eight.parts.get("exchange between ranks")!;
    assert(exchange > 2 * (24 << 20) && exchange < 3.2 * (25 << 20), `${exchange}`);
    const tensors = eight.plan.keep.tensors as { bytes: number }[];
    assertEquals(tensors.reduce((sum, { bytes }) => sum + bytes, 0), eight.plan.keep.total);
    const refused = await run(
      "train",
      "--init=random:tiny",
      "--ranks=2",
      "--out",
      join(dir, "run"),
    );
    assertEquals(refused.code, 2, refused.stderr);
    assertStringIncludes(refused.stderr, "--ranks is for --plan alone");
    const dealt = await run(...words, "--lanes=8", "--accumulate=8", "--ranks=3");
    assertEquals(dealt.code, 1, dealt.stderr);
    assertStringIncludes(dealt.stderr, "Cannot share steps of 8 lanes");
  }));

Deno.test("models are named by their hub ids, and a folder of that name wins", () =>
  withFolder(async (dir) => {
    const model = join(dir, "served");
    const tokenizer = Deno.readFileSync(FIXTURE_TOKENIZER);
    const { vocabularySize: vocabSize } = loadTokenizer(FIXTURE_TOKENIZER);
    const config = presetConfig("tiny", { vocabSize, endOfText: 0 });
    writeModelFolder(model, { config, read: initialParameters(config, 1), tokenizer });
    await hubServes(model, join(dir, "hub"), async (hub, asked) => {
      const out = join(dir, "tokenizer.json");
      const copied = await hub("model", "tokenizer", "--model=org/model", "--out", out);
      assertEquals([copied.code, Deno.readFileSync(out)], [0, tokenizer], copied.stderr);
      assertEquals(asked.filter((path) => path.startsWith("/cdn/")), ["/cdn/tokenizer.json"]);
      // A task may make no symbolic links: a blob gets a second name and is not copied.
      const cache = join(dir, "hub", "hub", "models--org--model");
      const [blob] = [...Deno.readDirSync(join(cache, "blobs"))].map(({ name }) => name);
      const [snapshot] = [...Deno.readDirSync(join(cache, "snapshots"))].map(({ name }) => name);
      const places = [
        join(cache, "blobs", blob!),
        join(cache, "snapshots", snapshot!, "tokenizer.json"),
      ];
      const [one, two] = places.map((path) => Deno.statSync(path).ino);
      assertEquals(one, two);
      const words = ["--prompt=The", "--max-new-tokens=3", "--json"];
      const text = await hub("generate", "--model=org/model", ...words);
      assertEquals(text.code, 0, text.stderr);
      asked.length = 0;
      const own = await hub("generate", "--model", model, "--tokenizer=org/model", ...words);
      const tokens = (stdout: string) => JSON.parse(stdout.trim().split("\n").at(-1)!).tokens;
      assertEquals([tokens(own.stdout), tokens(own.stdout).length], [tokens(text.stdout), 3]);
      asked.length = 0;
      Deno.mkdirSync(join(dir, "org"));
      Deno.renameSync(model, join(dir, "org", "model"));
      const folder = await hub("generate", "--model=org/model", ...words);
      assertEquals([tokens(folder.stdout), asked], [tokens(text.stdout), []]);
      const none = await hub("generate", "--model=runs/none", ...words);
      assertEquals(none.code, 1);
      assertStringIncludes(none.stderr, "there is no folder of that name here either");
    });
  }));

/** Runs `body` with a hub that has `folder` as org/model, and commands that look there. */
async function hubServes(
  folder: string,
  home: string,
  body: (hub: typeof run, asked: string[]) => Promise<void>,
): Promise<void> {
  const asked: string[] = [];
  const { server, endpoint } = serveHub(folder, { asked });
  const env = { HF_ENDPOINT: endpoint, HF_HOME: home, HF_TOKEN: "hf_test", NO_COLOR: "1" };
  try {
    await body((...args) => runTask(args, { cwd: dirname(home), env }), asked);
  } finally {
    await server.shutdown();
  }
}

Deno.test("train --watch serves a live page, with the task's permissions", () =>
  withFolder(async (dir) => {
    const corpus = join(dir, "corpus");
    const out = join(dir, "run");
    await makeCorpus(corpus);
    const child = new Deno.Command(Deno.execPath(), {
      args: taskWords(
        "train",
        "--watch=0",
        "--corpus",
        corpus,
        "--out",
        out,
        ...OPTIONS,
        "--recompute=on",
      ),
      stdout: "null",
      stderr: "piped",
    }).spawn();
    let said = "";
    let page: string | undefined;
    let events: Promise<string> | undefined;
    let busy = "";
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      said += text;
      const url = /Watch at (http:\S+\/)/.exec(said)?.[1];
      if (!url || events) continue;
      events = fetch(`${url}events`).then((response) => response.text());
      page = await (await fetch(url)).text();
      const port = new URL(url).port;
      const other = join(dir, "other");
      const args = ["train", "--corpus", corpus, "--out", other, ...OPTIONS, `--watch=${port}`];
      busy = (await run(...args)).stderr;
    }
    assertEquals((await child.status).code, 0, said);
    assertStringIncludes(page!, "<h1>run</h1>");
    assertStringIncludes(busy, "something else listens there; name another with --watch");
    const told = await events!;
    const steps = [...told.matchAll(/"step":\[([\d,]*)\]/g)].flatMap((m) => m[1]!.split(","));
    assertEquals(steps.at(-1), "40");
    assertStringIncludes(told, '"state":"finished"');
    assertStringIncludes(told, '"prompt":""');
    assertStringIncludes(Deno.readTextFileSync(join(out, "samples.jsonl")), '"step":40');
    assertStringIncludes(
      Deno.readTextFileSync(join(out, "report.html")),
      "What the model wrote",
    );
  }));
