/** `pubmamba`, as `deno install` puts it on the path: each command with the rights that it needs. @module */
import { launch } from "./launch.ts";

if (import.meta.main) Deno.exit(await launch(Deno.args, { calledAs: "pubmamba" }));
