/** Other programs on the work of `bench pipeline`. @module */

/** Speeds of other programs on the same file, where they are installed. */
export async function measurePeers(
  input: string,
  bytes: number,
): Promise<Record<string, [number, string]>> {
  const peers: Record<string, [number, string]> = {};
  const time = async (command: string, args: string[]) => {
    const begin = performance.now();
    try {
      const { success } = await new Deno.Command(command, { args, stderr: "null" }).output();
      return success ? bytes / 1e6 / ((performance.now() - begin) / 1000) : undefined;
    } catch {
      return undefined;
    }
  };
  const zcat = await time("sh", ["-c", 'zcat "$0" | wc -c', input]);
  if (zcat) peers.zcat = [zcat, "zcat | wc -c"];
  // Debian's python3-lxml belongs to Debian's Python, which need not be the first in PATH.
  const lxml = await time("python3", ["-c", LXML, input]) ??
    await time("/usr/bin/python3", ["-c", LXML, input]);
  if (lxml) peers.python_lxml = [lxml, "lxml iterparse, titles and abstracts only"];
  return peers;
}

const LXML = `
import gzip, sys
from lxml import etree
n = 0
for _, e in etree.iterparse(gzip.open(sys.argv[1]), tag="PubmedArticle"):
    n += len("".join(e.find(".//ArticleTitle").itertext()))
    for a in e.findall(".//Abstract/AbstractText"):
        n += len("".join(a.itertext()))
    e.clear()
    while e.getprevious() is not None:
        del e.getparent()[0]
`;
