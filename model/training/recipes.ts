/** The training configurations that come with the program. @module */
import { UserError } from "../../core/errors.ts";
import { exists } from "../../core/files.ts";
import { fromFileUrl } from "../../core/std.ts";

const RECIPES: readonly string[] = ["demo", "from-scratch", "biomamba-v1", "biomamba-v3"];

/** The recipes by name. */
export function recipeNames(): readonly string[] {
  return RECIPES;
}

/**
 * The file that `--config` names: a path, or a recipe's name.
 * @throws {UserError} where it is neither.
 */
export function configFile(nameOrPath: string): string {
  if (RECIPES.includes(nameOrPath)) {
    return fromFileUrl(new URL(`../../recipes/${nameOrPath}.jsonc`, import.meta.url));
  }
  if (!exists(nameOrPath)) {
    throw new UserError(
      `Cannot read the training configuration ${nameOrPath}: there is no such file, and the ` +
        `recipes are ${RECIPES.join(", ")}`,
    );
  }
  return nameOrPath;
}
