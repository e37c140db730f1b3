/** Tests in a real browser, where one is installed. @module */
import { join } from "../core/std.ts";
import { assert, assertEquals } from "./assert.ts";

/** The part of a Playwright page that tests use. */
export interface Page {
  goto(url: string): Promise<unknown>;
  on(
    event: "console" | "pageerror",
    listener: (e: { type?(): string; text?(): string; message?: string }) => void,
  ): void;
  waitForSelector(selector: string, options?: { timeout?: number }): Promise<unknown>;
  evaluate(code: string): Promise<unknown>;
  hover(selector: string, options?: { position: { x: number; y: number } }): Promise<void>;
  screenshot(options: { path: string; fullPage?: boolean }): Promise<unknown>;
  close(): Promise<void>;
}

/** The part of a Playwright browser that tests use. */
export interface Browser {
  newPage(options?: Record<string, unknown>): Promise<Page>;
  close(): Promise<void>;
}

const PATHS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

const executablePath = PATHS.find((path) => {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
});

/** A test in headless Chromium; skips (saying so in its name) where there is none. */
export function browserTest(name: string, fn: (browser: Browser) => Promise<void>): void {
  Deno.test({
    name: executablePath ? name : `${name} (skipped: no Chromium)`,
    ignore: !executablePath,
    // The driver keeps a timer of its own after the browser is gone.
    sanitizeOps: false,
    sanitizeResources: false,
    fn: () => withBrowser(fn),
  });
}

/** A test that looks at pages in headless Chromium, and without one at their text alone. */
export function browserTestOrText(
  name: string,
  fn: (browser: Browser | undefined) => Promise<void>,
): void {
  if (executablePath) return browserTest(name, fn);
  Deno.test(`${name} (their text alone: no Chromium)`, () => fn(undefined));
}

async function withBrowser(fn: (browser: Browser) => Promise<void>): Promise<void> {
  // Named at run time only, so that machines without a browser do not download the driver.
  const driver = "playwright-core";
  const { chromium } = await import(driver);
  const browser: Browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  try {
    await fn(browser);
  } finally {
    await browser.close();
  }
}

/** How many pixels of each canvas are not transparent. */
const PAINTED = `[...document.querySelectorAll("canvas")].map((canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let painted = 0;
  for (let i = 3; i < data.length; i += 4) painted += data[i] > 0 ? 1 : 0;
  return painted;
})`;

/**
 * Opens a page as people see it: 1,280 and 400 pixels wide, light and dark. Each time it must be free of
 * errors, no wider than the window, and its charts must be painted and answer to the cursor. With
 * PUBMAMBA_SCREENSHOTS=FOLDER pictures are kept there.
 * @param charts how many charts the page has
 * @param check looks further at the page
 */
export async function inEveryLook(
  browser: Browser,
  url: string,
  { name, charts, check }: { name: string; charts: number; check?: (page: Page) => Promise<void> },
): Promise<void> {
  const grounds = new Set<string>();
  for (const width of [1280, 400]) {
    for (const colorScheme of ["light", "dark"]) {
      const page = await browser.newPage({ colorScheme, viewport: { width, height: 900 } });
      const errors: string[] = [];
      page.on("console", (message) => message.type?.() === "error" && errors.push(message.text!()));
      page.on("pageerror", (error) => errors.push(error.message!));
      await page.goto(url);
      const look = `${name}, ${width} pixels, ${colorScheme}`;
      if (charts) {
        await page.waitForSelector(`body[data-charts='${charts}']`);
        const painted = await page.evaluate(PAINTED) as number[];
        assertEquals(painted.length, charts, look);
        for (const pixels of painted) assert(pixels > 1500, `${look}: a chart of ${pixels} pixels`);
        const before = await page.evaluate(LEGEND) as string;
        await page.hover(".u-over");
        assert(await page.evaluate(LEGEND) !== before, `${look}: the cursor tells nothing`);
      }
      const wide = await page.evaluate("document.documentElement.scrollWidth") as number;
      assert(wide <= width, `${look}: ${wide} pixels wide`);
      grounds.add(await page.evaluate("getComputedStyle(document.body).backgroundColor") as string);
      await check?.(page);
      assertEquals(errors, [], look);
      const shots = Deno.env.get("PUBMAMBA_SCREENSHOTS");
      const path = shots && join(shots, `${name}-${width}-${colorScheme}.png`);
      if (path) await page.screenshot({ path, fullPage: true });
      await page.close();
    }
  }
  assertEquals(grounds.size, 2, `${name}: light and dark look alike`);
}

/** What the first chart's legend says. */
const LEGEND = `document.querySelector(".u-legend").textContent`;
