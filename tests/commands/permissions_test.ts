/** What each command may read, write and reach, by its words. @module */
import type { Command, CommandGroup } from "../../core/cli.ts";
import { join, resolve } from "../../core/std.ts";
import { ROOT_COMMANDS } from "../../commands/mod.ts";
import { PLACES, placesOf, rightsFor } from "../../commands/permissions.ts";
import { assert, assertEquals, assertStringIncludes } from "../assert.ts";
import { withFolder } from "../model/helpers.ts";
import { ROOT, runTask } from "../shared.ts";

/** Options whose values are words, and no places. */
const WORDS = [
  "types",
  "freeze",
  "lora",
  "by",
  "checkpoint",
  "contact",
  "curriculum",
  "files",
  "filter",
  "part",
  "prompt",
  "stop",
  "tune-rates",
  "tune-batches",
  "tune-epochs",
  "upsample",
  "format",
  "license",
  "shards",
  "to",
];
/** Benchmarks are for those who write the program, and start with more rights. */
const FREE = ["bench"];

async function* commands(group: CommandGroup = ROOT_COMMANDS): AsyncGenerator<Command> {
  for (const entry of Object.values(group.commands)) {
    const command = await entry.load();
    if ("commands" in command) yield* commands(command);
    else yield command;
  }
}

Deno.test("every option of every command is known to name a place, or not to", async () => {
  const unknown: string[] = [];
  const unused = new Set(
    [...PLACES].flatMap(([name, { options = {} }]) =>
      Object.keys(options).map((o) => `${name} ${o}`)
    ),
  );
  for await (const { name, options = {}, positionals = [] } of commands()) {
    if (FREE.includes(name)) continue;
    const places = placesOf(name.split(" "));
    if (!places) unknown.push(name);
    for (const key of PLACES.keys()) {
      if (PLACES.get(key) !== places) continue;
      for (const option of Object.keys(options)) unused.delete(`${key} ${option}`);
      if (positionals.length > 0) unused.delete(`${key} `);
    }
    for (const [option, { type, choices }] of Object.entries(options)) {
      const text = (type === "string" || type === "list") && !choices;
      if (!text || WORDS.includes(option)) continue;
      if (!Object.hasOwn(places?.options ?? {}, option)) unknown.push(`${name} --${option}`);
    }
    if (positionals.length > 0 && !Object.hasOwn(places?.options ?? {}, "")) {
      unknown.push(`${name} WORDS`);
    }
  }
  assertEquals(unknown, [], "give each an entry in commands/permissions.ts");
  assertEquals([...unused], [], "entries of options that there are not");
});

/** The rights of a line, where the home folder is `home`. */
const rightsAt = (home: string) => async (...words: string[]) => {
  const environment = (name: string) => name === "HOME" ? home : undefined;
  return (await rightsFor(words, ROOT, environment)).lists;
};

Deno.test("training may read its corpora and write its run; the hub is reached where it is named", () =>
  withFolder(async (home) => {
    const of = rightsAt(home);
    const at = (name: string) => join(home, name);
    const code = resolve(ROOT);
    const cache = at(".cache/pubmamba");
    const random = await of(
      "train",
      "--mix",
      `${at("a")}=0.5,${at("b")}=0.5`,
      "--init",
      "random:tiny",
      "--out",
      at("run"),
      "--watch",
      "8080",
      "--scores",
      `a: ${at("s.jsonl")}`,
    );
    assertEquals(random.net, ["127.0.0.1:8080"]);
    const pins = [at("a/pins"), at("b/pins")];
    assertEquals(random.write, [cache, at("run"), at("run.partial"), ...pins].sort());
    for (const path of [at("a"), at("b"), at("s.jsonl"), code]) {
      assert(random.read.includes(path), path);
    }
    assertEquals(random.env.filter((name) => name.startsWith("HF_")), []);
    const hub = await of("train", "--corpus", at("a"), "--init=org/model@v1", "--out", at("run"));
    assertEquals(hub.net, ["*.hf.co", "*.huggingface.co", "huggingface.co"]);
    assert(hub.write.includes(at(".cache/huggingface/hub")));
    assert(hub.env.includes("HF_TOKEN"));
    // A folder of that name wins, as it does in the command.
    Deno.mkdirSync(at("models"));
    assertEquals((await of("generate", "--model", at("models"))).net, []);
    assertEquals((await of("export", "--run", at("run"), "--out", at("m"))).net, []);
    assertEquals((await of("export", "--run", at("run"), "--push", "org/m")).net, hub.net);
  }));

Deno.test("a reproduction reads models, sets and answers by their places, and writes its results", () =>
  withFolder(async (home) => {
    const of = rightsAt(home);
    const at = (name: string) => join(home, name);
    const words = ["reproduce", "--data", at("sets"), "--out", at("results")];
    const local = await of(
      ...words,
      "--models",
      `base=random:tiny,mine=${at("run")}`,
      "--systems",
      `one=${at("answers")}`,
    );
    for (const path of ["sets", "run", "answers"]) assert(local.read.includes(at(path)), path);
    assertEquals(local.net, []);
    assertEquals(
      local.write,
      [at(".cache/pubmamba"), at("results"), at("results.partial")].sort(),
    );
    const hub = await of(...words, "--models", "base=org/model,org/other@v1");
    assertEquals(hub.net, ["*.hf.co", "*.huggingface.co", "huggingface.co"]);
  }));

Deno.test("to go on with a run takes what its run.json and its configuration name", () =>
  withFolder(async (home) => {
    const of = rightsAt(home);
    const at = (name: string) => join(home, name);
    const run = at("run");
    Deno.mkdirSync(run);
    const record = (path: string, scores: string) =>
      Deno.writeTextFileSync(
        join(run, "run.json"),
        JSON.stringify({ corpus: { path }, init: at("m"), config: { data: { scores } } }),
      );
    record(at("corpus"), at("s.jsonl"));
    const resumed = await of("train", "--out", run, "--resume");
    for (const path of ["corpus", "m", "s.jsonl"]) assert(resumed.read.includes(at(path)), path);
    record(`${at("a")}=0.5,${at("b")}=0.5`, "");
    const mixed = await of("train", "--resume", `--out=${run}`);
    for (const path of ["a", "b"]) assert(mixed.read.includes(at(path)), path);
    assertEquals((await of("train", "--out", run)).read.includes(at("a")), false);
    Deno.writeTextFileSync(at("c.jsonc"), `{ "data": { "scores": "${at("t.jsonl")}" } } // mine`);
    const configured = await of("train", "--config", at("c.jsonc"), "--out", run);
    assert(configured.read.includes(at("t.jsonl")));
    const set = await of("train", "--set", `data.scores=${at("u.jsonl")}`, "--out", run);
    assert(set.read.includes(at("u.jsonl")));
  }));

Deno.test("defaults are granted as given values are; commands unknown, or asked for help, get nothing", async () => {
  const of = rightsAt("/nowhere");
  const code = resolve(ROOT);
  const write = async (...words: string[]) => (await of(...words)).write;
  assert((await write("evaluate", "ner", "--gold", "g.tsv")).includes(resolve("results")));
  assert((await write("demo")).includes(resolve("demo-output")));
  assertEquals(await write("pipeline", "report", "--corpus", "c"), [
    resolve("c"),
    resolve("c/report.html"),
    resolve("c/report.html.partial"),
  ]);
  for (const words of [["constructor"], ["pipeline", "constructor"], ["--help"], []]) {
    const rights = await of(...words);
    assertEquals(rights, { read: [code], write: [], net: [], env: [], sys: [], ffi: [] });
  }
});

Deno.test("a place in the storage is reached with AWS's variables and files; parts read the cluster's", async () => {
  const variables: Record<string, string> = {
    HOME: "/nowhere",
    AWS_ENDPOINT_URL: "https://storage.example.org:9000",
    SLURM_ARRAY_TASK_ID: "1",
  };
  const of = async (...words: string[]) =>
    (await rightsFor(words, ROOT, (name) => variables[name])).lists;
  const train = await of("train", "--corpus", "s3://bucket/corpus", "--init", "random:tiny");
  assertEquals(train.net, ["storage.example.org:9000"]);
  assert(train.env.includes("AWS_SECRET_ACCESS_KEY"));
  assert(train.read.includes("/nowhere/.aws/credentials"));
  assertEquals(train.write, ["/nowhere/.cache/pubmamba"]);
  const pull = await of("pipeline", "pull", "--from", "s3://bucket/corpus", "--corpus", "c");
  assertEquals([pull.net, pull.write], [["storage.example.org:9000"], [resolve("c")]]);
  const push = await of("pipeline", "push", "--corpus", "c", "--to=s3://bucket/corpus");
  assertEquals([push.net, push.write], [["storage.example.org:9000"], []]);
  const part = await of("pipeline", "run", "--corpus", "c", "--source", "m", "--part", "1/2");
  assertEquals([part.net, part.env], [[], ["SLURM_ARRAY_TASK_ID"]]);
  assertEquals((await of("train", "--corpus", "c", "--init", "random:tiny")).net, []);
});

Deno.test("a model of the hub comes through the task into the cache, and from no other host", () =>
  withFolder(async (home) => {
    const elsewhere = Deno.serve(
      { port: 0, hostname: "127.0.0.1", onListen() {} },
      () => new Response("{}"),
    );
    const hub = Deno.serve(
      { port: 0, hostname: "127.0.0.1", onListen() {} },
      () => Response.redirect(`http://127.0.0.1:${elsewhere.addr.port}/`, 302),
    );
    try {
      const env = { HF_ENDPOINT: `http://127.0.0.1:${hub.addr.port}`, HF_HOME: home };
      const words = ["generate", "--model", "org/model", "--prompt", "a"];
      const { code, stderr } = await runTask(words, { env });
      assertEquals(code, 1);
      assertStringIncludes(
        stderr,
        `this task has no right to reach "127.0.0.1:${elsewhere.addr.port}"`,
      );
    } finally {
      await Promise.all([hub.shutdown(), elsewhere.shutdown()]);
    }
  }));
