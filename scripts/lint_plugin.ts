/// <reference lib="deno.unstable" />
/**
 * The project's own lint rules, which `deno lint` runs beside the recommended ones. They hold what the
 * formatter cannot: that each statement says one thing.
 * @module
 */

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
