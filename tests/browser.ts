/** Tests in a real browser, where one is installed. @module */

/** The part of a Playwright page that tests use. */
export interface Page {
  goto(url: string): Promise<unknown>;
  on(
    event: "console" | "pageerror",
    listener: (e: { type?(): string; text?(): string; message?: string }) => void,
  ): void;
  waitForSelector(selector: string, options?: { timeout?: number }): Promise<unknown>;
  evaluate(code: string): Promise<unknown>;
  screenshot(options: { path: string; fullPage?: boolean }): Promise<unknown>;
  close(): Promise<void>;
}

/** The part of a Playwright browser that tests use. */
interface Browser {
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
    async fn() {
      // Named at run time only, so that machines without a browser do not download the driver.
      const driver = "playwright-core";
      const { chromium } = await import(driver);
      const browser: Browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
      try {
        await fn(browser);
      } finally {
        await browser.close();
      }
    },
  });
}
