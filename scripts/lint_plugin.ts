/// <reference lib="deno.unstable" />
/**
 * The project's own lint rules, which `deno lint` runs beside the recommended ones. They hold what the
 * formatter cannot: that each statement says one thing.
 * @module
 */
import { pathToFileURL } from "node:url";

const ROOT = new URL("..", import.meta.url).href;

/**
 * Rooms in which `value!` may stand, which takes a value to be there without a look: tests fail by
 * themselves, and the others are to follow. Elsewhere a file whose inner loops would pay for a look
 * says so once, beside `deno-lint-ignore-file`.
 */
const UNCHECKED = ["tests/"];

const plugin: Deno.lint.Plugin = {
  name: "pubmamba",
  rules: {
    "one-declaration": {
      create(context) {
        return {
          VariableDeclaration(node) {
            // The counters of a `for` loop belong together.
            const loop = node.parent.type === "ForStatement" && node.parent.init === node;
            if (node.declarations.length > 1 && !loop) {
              context.report({
                node,
                message: "Declare one variable per statement, so that each can be read and moved",
              });
            }
          },
        };
      },
    },
    "no-non-null-assertion": {
      create(context) {
        const file = pathToFileURL(context.filename).href;
        if (!file.startsWith(ROOT) || UNCHECKED.some((room) => file.startsWith(ROOT + room))) {
          return {};
        }
        return {
          TSNonNullExpression(node) {
            context.report({
              node,
              message:
                "Check the value, or write `?? fail(...)`: `!` says that it is there and does not " +
                "look",
            });
          },
        };
      },
    },
    "no-comma-expression": {
      create(context) {
        return {
          SequenceExpression(node) {
            if (node.parent.type === "ForStatement") return;
            context.report({ node, message: "Write two statements instead of a comma expression" });
          },
        };
      },
    },
    "no-spread-literal": {
      create(context) {
        return {
          SpreadElement(node) {
            const { type } = node.argument;
            if (type === "ObjectExpression" || type === "ArrayExpression") {
              context.report({
                node,
                message: "Write the members themselves instead of spreading a literal",
              });
            }
          },
        };
      },
    },
  },
};

export default plugin;
