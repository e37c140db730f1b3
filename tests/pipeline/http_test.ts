/** Fetching from a real HTTP server on loopback, through every fault. @module */
import { join } from "../../core/std.ts";
import { UserError } from "../../core/errors.ts";
import { exists } from "../../core/files.ts";
import type { Catalogue } from "../../pipeline/catalogue/catalogue.ts";
import { DEFAULT_POLICIES } from "../../pipeline/ingest/policy.ts";
import { FileTaker } from "../../pipeline/ingest/take_files.ts";
import { WorkerPool } from "../../pipeline/ingest/worker_pool.ts";
import { type RunOptions, runPipeline } from "../../pipeline/run.ts";
import { retryAfter } from "../../pipeline/source/http_client.ts";
import { openSource } from "../../pipeline/source/open.ts";
import { parseMd5 } from "../../pipeline/source/source.ts";
import { parseName, parseSelection } from "../../pipeline/source/names.ts";
import { assert, assertEquals, assertRejects, assertThrows } from "../assert.ts";
import { ROOT } from "../shared.ts";
import {
  article,
  digestOf,
  type Fault,
  md5File,
  nameOf,
  pubmedSet,
  putFile,
  type Seen,
  serveFile,
  withFolder,
  withServer,
} from "./support.ts";

const FIXTURES = join(ROOT, "fixtures/mirror");
const FAST = { retryDelay: 0.002, readTimeout: 1, totalTimeout: 20 };

const fetchInto = (source: string, corpus: string, options: Partial<RunOptions> = {}) =>
  runPipeline({ source, corpus, workers: 2, http: FAST, ...options });

/** A body that ends, breaks off or stalls after `size` bytes, though more were promised. */
function brokenBody(data: Uint8Array, size: number, how: "reset" | "stall"): ReadableStream {
  return new ReadableStream({
    async start(controller) {
      controller.enqueue(data.slice(0, size));
      await new Promise((resolve) => setTimeout(resolve, 20));
      // Fewer bytes than the length promised: the server breaks the connection off.
      if (how === "reset") controller.close();
    },
  });
}

let plain: Promise<Record<string, string>> | undefined;
/** The digest of the corpus that the folder itself gives, made once. */
const plainDigest = () =>
  plain ??= withFolder(async (corpus) => {
    await runPipeline({ source: FIXTURES, corpus, workers: 2 });
    return digestOf(corpus);
  });

/** Runs against a server with a fault; the corpus must equal one made without. */
async function survives(fault: Fault, check?: (requests: Seen[]) => void): Promise<void> {
  await withFolder(async (folder) => {
    await withServer(FIXTURES, async (url, requests) => {
      await fetchInto(url, join(folder, "fetched"));
      check?.(requests);
    }, fault);
    assertEquals(digestOf(join(folder, "fetched")), await plainDigest());
    assert(!exists(join(folder, "fetched/raw")), "the downloads were left behind");
  });
}

/** A fault that happens the first `times` times it applies. */
function times(count: number, fault: Fault): Fault {
  let left = count;
  return async (request, path) => {
    if (left === 0) return undefined;
    const response = await fault(request, path);
    if (response) left--;
    return response;
  };
}

Deno.test("an HTTP mirror gives the corpus that the folder gives; --keep-raw keeps the files", () =>
  withFolder(async (folder) => {
    const fetched = join(folder, "fetched");
    await withServer(FIXTURES, async (url, requests) => {
      await fetchInto(url, fetched, {
        keepRaw: true,
        http: { ...FAST, contact: "me@example.org" },
      });
      assert(
        requests.every((r) => /^pubmamba.*me@example\.org/.test(r.headers.get("user-agent")!)),
      );
      const again = await fetchInto(url, fetched);
      assert(again.up_to_date);
      assertEquals(
        requests.slice(-2).map((r) => r.path).sort(),
        ["baseline/", "updatefiles/"],
        "nothing but the listings is asked for again",
      );
    });
    assertEquals(digestOf(fetched), await plainDigest());
    assertEquals(
      [...Deno.readDirSync(join(fetched, "raw"))].map((e) => e.name).sort(),
      [1, 2, 3, 4, 5].map((n) => nameOf(n)),
    );
  }));

Deno.test("a download cut off goes on with Range and If-Range", () => {
  const cut = new Map<string, number>();
  return survives((request, path) => {
    if (!path.endsWith(".xml.gz") || (cut.get(path) ?? 0) >= 2) return undefined;
    cut.set(path, (cut.get(path) ?? 0) + 1);
    const whole = serveFile(request, join(FIXTURES, path));
    return whole.arrayBuffer().then((buffer) =>
      new Response(brokenBody(new Uint8Array(buffer), 5000, "reset"), {
        status: whole.status,
        headers: whole.headers,
      })
    );
  }, (requests) => {
    const ranges = requests.filter((r) => r.path.endsWith("0001.xml.gz"))
      .map((r) => r.headers.get("range"));
    assertEquals(ranges, [null, "bytes=5000-", "bytes=10000-"]);
    assert(requests.filter((r) => r.headers.has("range")).every((r) => r.headers.get("if-range")));
  });
});

Deno.test("a server that answers 200 to a Range is read from the start", () =>
  survives((request, path) => {
    if (!path.endsWith(".xml.gz")) return undefined;
    const data = Deno.readFileSync(join(FIXTURES, path));
    const etag = '"e"';
    const headers = { etag, "content-length": String(data.length) };
    return request.headers.has("range")
      ? new Response(data, { headers })
      : new Response(brokenBody(data, 3000, "reset"), { headers });
  }));

Deno.test("a server that answers another range than asked for is read from the start", () =>
  survives((request, path) => {
    if (!path.endsWith(".xml.gz")) return undefined;
    const data = Deno.readFileSync(join(FIXTURES, path));
    const length = data.length;
    if (request.headers.has("range")) {
      return new Response(data.slice(10), {
        status: 206,
        headers: { etag: '"e"', "content-range": `bytes 10-${length - 1}/${length}` },
      });
    }
    const first = !seen.has(path);
    seen.add(path);
    const body = first ? brokenBody(data, 3000, "reset") : data;
    return new Response(body, { headers: { etag: '"e"', "content-length": String(length) } });
  }));
const seen = new Set<string>();

Deno.test("stalls, 429 with Retry-After, 503 and short listings are tried again", async () => {
  const stall = times(
    2,
    (_, path) =>
      path.endsWith("0002.xml.gz")
        ? new Response(brokenBody(Deno.readFileSync(join(FIXTURES, path)), 100, "stall"))
        : undefined,
  );
  const busy = times(
    3,
    () => new Response("slow down", { status: 429, headers: { "retry-after": "0" } }),
  );
  const down = times(
    3,
    (_, path) => path.endsWith("md5") ? new Response("", { status: 503 }) : undefined,
  );
  const short = times(
    2,
    (_, path) =>
      path === "baseline/" ? new Response(`<html><pre><a href="${nameOf(1)}">x</a>\n`) : undefined,
  );
  await survives(async (request, path) => {
    for (const fault of [stall, busy, down, short]) {
      const response = await fault(request, path);
      if (response) return response;
    }
    return undefined;
  });
});

Deno.test("bytes that do not match their MD5 are fetched again, then refused", async () => {
  const garble: Fault = async (request, path) => {
    if (!path.endsWith("0003.xml.gz")) return undefined;
    const response = serveFile(request, join(FIXTURES, path));
    const data = new Uint8Array(await response.arrayBuffer());
    data[100]! ^= 1;
    return new Response(data, { headers: response.headers });
  };
  await survives(times(2, garble));
  await withFolder((corpus) =>
    withServer(FIXTURES, async (url) => {
      const error = await assertRejects(() => fetchInto(url, corpus), UserError, "MD5");
      assert(error.message.includes(nameOf(3)));
      assert(!exists(join(corpus, "documents/pubmed26n0003.parquet")));
    }, garble)
  );
});

Deno.test("a file that changes between two attempts is taken whole, in its new form", () =>
  withFolder(async (folder) => {
    const mirror = join(folder, "mirror");
    const title = (t: string) =>
      pubmedSet(
        ...Array.from({ length: 300 }, (_, i) =>
          article(i + 1, { title: `${t} ${i * 7919 % 1000}` })),
      );
    putFile(mirror, "baseline", 1, title("old"));
    const change = times(1, (request, path) => {
      if (!path.endsWith(".xml.gz")) return undefined;
      const response = serveFile(request, join(mirror, path));
      putFile(mirror, "baseline", 1, title("new"));
      return response.arrayBuffer().then((b) =>
        new Response(brokenBody(new Uint8Array(b), 500, "reset"), { headers: response.headers })
      );
    });
    await withServer(mirror, async (url) => {
      await assertRejects(() => fetchInto(url, join(folder, "corpus")), UserError, "changed");
      await fetchInto(url, join(folder, "corpus"));
    }, change);
    await runPipeline({ source: mirror, corpus: join(folder, "plain"), workers: 1 });
    assertEquals(digestOf(join(folder, "corpus")), digestOf(join(folder, "plain")));
  }));

Deno.test("an unfinished download is gone on with by the next run", () =>
  withFolder(async (corpus) => {
    const cut: Fault = async (request, path) => {
      if (!path.endsWith("0001.xml.gz")) return undefined;
      const response = serveFile(request, join(FIXTURES, path));
      if (request.headers.has("range")) return new Response("", { status: 500 });
      const data = new Uint8Array(await response.arrayBuffer());
      return new Response(brokenBody(data, 4000, "reset"), { headers: response.headers });
    };
    await withServer(FIXTURES, async (url) => {
      await assertRejects(() => fetchInto(url, corpus, { files: "1" }), UserError, "500");
    }, cut);
    assertEquals(Deno.statSync(join(corpus, "raw", nameOf(1) + ".partial")).size, 4000);
    // Another port is another server to go on with, so the note says which URL it was.
    await withServer(FIXTURES, async (url) => {
      await fetchInto(url, corpus, { files: "1" });
    });
    assert(exists(join(corpus, "documents/pubmed26n0001.parquet")));
  }));

Deno.test("what cannot be had or trusted is refused", () =>
  withFolder(async (folder) => {
    const corpus = join(folder, "corpus");
    const refused = (fault: Fault, message: string) =>
      withServer(FIXTURES, (url) =>
        assertRejects(() => fetchInto(url, corpus), UserError, message), fault);
    await refused(() =>
      new Response("", { status: 404 }), "PubMed files");
    await refused(() =>
      new Response("", { status: 403 }), "403");
    await refused(() => new Response("", { status: 500 }), "8 times over");
    await refused((_, path) =>
      path.endsWith(".xml.gz")
        ? new Response(null, { status: 302, headers: { location: "http://localhost:1/" } })
        : undefined, "another host");
    await refused((_, path) =>
      path.endsWith(".xml.gz")
        ? new Response(null, { status: 302, headers: { location: "?again" } })
        : undefined, "circles");
    await refused(
      (_, path) =>
        path === "baseline/"
          ? new Response("<html><body>Come back later</body></html>")
          : undefined,
      "file 1 is missing",
    );
    const holes = ["1", "3"].map((n) =>
      `<a href="${nameOf(Number(n))}">x</a>\n<a href="${nameOf(Number(n))}.md5">x</a>\n`
    );
    await refused(
      (_, path) =>
        path === "baseline/" ? new Response(`<pre>${holes.join("")}</pre>`) : undefined,
      "file 2 is missing",
    );
    await refused((_, path) =>
      path.endsWith("md5") ? new Response("MD5 (x) = nothing") : undefined, "no MD5");
    await assertRejects(
      () =>
        fetchInto("http://127.0.0.1:1/", corpus),
      UserError,
      "8 times over",
    );
    // Whole downloads of other files may stay, to be used by the next run.
    assertEquals(
      [...Deno.readDirSync(folder)].filter((e) =>
        e.name !== "corpus"
      ),
      [],
    );
    assert(!exists(join(corpus, "documents")));
  }));

Deno.test("names that are no PubMed names never become paths", () =>
  withFolder(async (folder) => {
    const evil = [
      "../../evil.xml.gz",
      "pubmed26n0001.xml.gz/../../x",
      "%2e%2e/pubmed26n0001.xml.gz",
      "/etc/passwd",
      "pubmed26n0001.xml.gz%00.txt",
      "pubmed26n0001.XML.GZ",
    ];
    for (const name of evil) assertEquals(parseName(name), undefined, name);
    await withServer(
      FIXTURES,
      (url) =>
        assertRejects(() => fetchInto(url, join(folder, "corpus")), UserError, "PubMed files"),
      (_, path) =>
        path.endsWith("/")
          ? new Response(
            `<pre>${evil.map((e) => `<a href="${e}">x</a>\n<a href="${e}.md5">x</a>\n`)}</pre>`,
          )
          : new Response("x"),
    );
    assertEquals([...Deno.readDirSync(folder)].map((e) => e.name), []);
  }));

Deno.test("MD5 files, Retry-After and selections are read in all their forms", () => {
  const hex = "0123456789abcdef0123456789ABCDEF";
  const name = nameOf(1);
  for (const text of [`MD5(${name})= ${hex}\n`, `${hex}  ${name}`, hex, `MD5 (${name}) = ${hex}`]) {
    assertEquals(parseMd5(text), hex.toLowerCase(), text);
  }
  assertEquals(parseMd5("MD5(x)= 123"), undefined);
  assertEquals(parseMd5(md5File(name, new Uint8Array()))!, "d41d8cd98f00b204e9800998ecf8427e");
  const after = (value: string) =>
    retryAfter(new Response("", { headers: { "retry-after": value } }), 0);
  assertEquals([after("7"), after("Thu, 01 Jan 1970 00:00:09 GMT"), after("x"), after("99999")], [
    7,
    9,
    0,
    600,
  ]);
  const selected = parseSelection("1-3, 7");
  assertEquals([1, 3, 4, 7, 8].map(selected), [true, true, false, true, false]);
  assertThrows(() => parseSelection("3-1"), Error, "3-1");
});

Deno.test("a download is gone before the catalogue has its file: a kill in between leaves none", () =>
  withFolder((folder) =>
    withServer(FIXTURES, async (url) => {
      const corpus = join(folder, "corpus");
      const source = openSource(url, FAST);
      const file = (await source.list()).find((f) => f.number === 5);
      if (!file) throw new Error("the fixtures have no file 5");
      const left: boolean[] = [];
      const catalogue = {
        addFile: () => left.push(exists(join(corpus, "raw"))),
      } as unknown as Catalogue;
      const pool = new WorkerPool(1);
      try {
        const settings = { fields: "text" as const, policies: DEFAULT_POLICIES, tokens: undefined };
        const taker = new FileTaker(source, catalogue, pool, settings, { corpus, workers: 1 });
        await taker.take([{ file, md5: await source.md5(file), issuedAgain: false }]);
      } finally {
        await pool.close();
      }
      assertEquals(left, [false]);
    })
  ));
