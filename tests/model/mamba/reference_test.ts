import { openSafetensors } from "../../../core/safetensors.ts";
import { join } from "../../../core/std.ts";
import { parseConfig } from "../../../model/mamba/config_file.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { canonicalName, parameterList } from "../../../model/mamba/parameters.ts";
import { ReferenceModel, ReferenceRecurrentModel } from "../../../model/mamba/reference.ts";
import { type Batch, IGNORED_TARGET } from "../../../model/mamba/types.ts";
import { assert, assertEquals } from "../../assert.ts";
import { SHARED, sharedTest } from "../../shared.ts";
import { MINIATURE } from "../helpers.ts";

Deno.test("ReferenceModel's gradients equal finite differences, packed and with ignored targets", async () => {
  const length = 9;
  const read = initialParameters(MINIATURE, 5);
  const batch: Batch = {
    tokens: Uint32Array.from({ length: 2 * length }, (_, i) => (i * 7 + 3) % 21),
    starts: Uint8Array.from({ length: 2 * length }, (_, i) => Number([0, 4, 9, 11].includes(i))),
    targets: Int32Array.from(
      { length: 2 * length },
      (_, i) => i % 5 === 2 ? IGNORED_TARGET : (i * 5 + 1) % 21,
    ),
  };
  const model = new ReferenceModel(MINIATURE, 2, length);
  const values = new Map(parameterList(MINIATURE).map((p) => [p.name, read(p.name)]));
  // Large enough weights that every path carries a gradient well above the differences' error.
  for (const v of values.values()) v.forEach((x, i) => v[i] = x * 1.5 + 0.05 * Math.sin(i));
  const lossWith = async (name: string, at: number, value: number) => {
    const changed = values.get(name)!.slice();
    changed[at] = value;
    model.writeParameters((n) => n === name ? changed : values.get(n)!);
    return [changed[at]!, (await model.evaluate(batch)).nll] as const;
  };
  model.writeParameters((n) => values.get(n)!);
  model.accumulate(batch, 0.25);
  model.accumulate(batch, 0.5);
  const gradients = new Map(model.gradients.entries().map(([n, g]) => [n, g.slice()]));
  for (const { name, size } of parameterList(MINIATURE)) {
    for (let k = 0; k < 3; k++) {
      const at = (k * 37 + 11) % size;
      const middle = values.get(name)![at]!;
      const [above, high] = await lossWith(name, at, middle + 2e-3);
      const [below, low] = await lossWith(name, at, middle - 2e-3);
      const want = 0.75 * (high - low) / (above - below);
      const got = gradients.get(name)![at]!;
      assert(
        Math.abs(got - want) < 1e-4 * Math.max(0.1, Math.abs(want)),
        `${name}: ${got} ${want}`,
      );
    }
  }
});

interface Golden {
  config: Record<string, unknown>;
  train: { weight_decay: number; clip_grad_norm: number; betas: [number, number]; eps: number };
  tol: Record<string, { f32_rel: number }>;
}

for (const name of ["m1a", "m1b", "m2a", "m2b"]) {
  const folder = join(SHARED, "goldens");
  const load = () => {
    const golden: Golden = JSON.parse(Deno.readTextFileSync(join(folder, `${name}.json`)));
    const config = parseConfig(golden.config, `${name}.json`);
    using weights = openSafetensors(join(folder, `${name}_weights.safetensors`));
    const values = new Map(
      [...weights.tensors.keys()].map((t) => [canonicalName(t), weights.floats(t)]),
    );
    const file = openSafetensors(join(folder, `${name}_golden.safetensors`));
    const check = (tensor: string, got: ArrayLike<number>) => {
      const want = file.floats(tensor);
      const limit = golden.tol[tensor]!.f32_rel;
      let largest = 0;
      let error = 0;
      assertEquals(got.length, want.length, tensor);
      for (let i = 0; i < want.length; i++) {
        largest = Math.max(largest, Math.abs(want[i]!));
        error = Math.max(error, Math.abs(want[i]! - got[i]!));
      }
      assert(error <= (limit * largest || 1e-7), `${tensor}: ${error / largest} over ${limit}`);
    };
    const stored = (n: string) => n.replace("backbone.embeddings", "backbone.embedding");
    return { golden, config, values, file, check, stored, read: (n: string) => values.get(n)! };
  };
  const batchOf = (tokens: Int32Array, targets: Int32Array, starts: Uint8Array): Batch => ({
    tokens: Uint32Array.from(tokens),
    starts,
    targets,
  });
  const evenStarts = (b: number, l: number) =>
    Uint8Array.from({ length: b * l }, (_, i) => Number(i % l === 0));

  sharedTest("goldens", `ReferenceModel equals ${name}'s batch and packed goldens`, async () => {
    const { golden, config, file, check, read, stored } = load();
    for (const group of ["batch", "packed"]) {
      const [b, l] = file.info(`${group}/input_ids`).shape as [number, number];
      const starts = evenStarts(b, l);
      if (group === "packed") {
        for (const at of file.integers("packed/cu_seqlens")) if (at < l) starts[at] = 1;
      }
      const targets = file.integers(`${group}/targets`);
      const batch = batchOf(file.integers(`${group}/input_ids`), targets, starts);
      const model = new ReferenceModel(config, b, l);
      model.writeParameters(read);
      check(`${group}/logits`, model.logits(batch));
      model.accumulate(batch, 1 / targets.filter((t) => t >= 0).length);
      for (const [n, gradient] of model.gradients) {
        const tensor = `${group}/grad.${stored(n)}`;
        if (golden.tol[tensor]) check(tensor, gradient); // m1b has no packed gradients
      }
      const { nll, targets: scored } = await model.evaluate(batch);
      check(`${group}/loss`, [nll / scored]);
    }
    file.close();
  });

  sharedTest("goldens", `ReferenceModel equals ${name}'s 20 AdamW steps`, async () => {
    const { golden, config, file, check, read, stored } = load();
    const [steps, b, l] = file.info("train/input_ids").shape as [number, number, number];
    const tokens = file.integers("train/input_ids");
    const targets = file.integers("train/targets");
    const rates = file.floats("train/lrs");
    const { betas, eps } = golden.train;
    const model = new ReferenceModel(config, b, l);
    model.writeParameters(read);
    const losses: number[] = [];
    const norms: number[] = [];
    for (let s = 0; s < steps; s++) {
      const part = <T extends Int32Array>(a: T) => a.subarray(s * b * l, (s + 1) * b * l);
      const wanted = part(targets);
      model.accumulate(
        batchOf(part(tokens), wanted, evenStarts(b, l)),
        1 / wanted.filter((t) => t >= 0).length,
      );
      model.update({
        step: s + 1,
        learningRate: rates[s]!,
        beta1: betas[0],
        beta2: betas[1],
        epsilon: eps,
        weightDecay: golden.train.weight_decay,
        maxGradNorm: golden.train.clip_grad_norm,
      });
      const report = await model.report();
      losses.push(report.loss);
      norms.push(report.gradNorm);
    }
    check("train/losses", losses);
    check("train/grad_norms", norms);
    for (const [n, values] of await model.readParameters()) {
      check(`train/final.${stored(n)}`, values);
    }
    file.close();
  });

  sharedTest("goldens", `ReferenceRecurrentModel equals ${name}'s greedy generation`, async () => {
    const { config, file, check, read } = load();
    const model = new ReferenceRecurrentModel(config, read);
    for (const group of ["gen0", "gen1"]) {
      const [b, given] = file.info(`${group}/prompt`).shape as [number, number];
      const prompt = file.integers(`${group}/prompt`);
      const want = file.integers(`${group}/tokens`);
      const total = want.length / b;
      const logits: number[] = [];
      const tokens: number[] = [];
      const conv: number[][] = [];
      const scan: number[][] = [];
      for (let row = 0; row < b; row++) {
        model.reset();
        const text = [...prompt.subarray(row * given, (row + 1) * given)];
        for (let t = 0; text.length < total; t++) {
          const next = (await model.step(text[t]!)).subarray(0, config.vocabSize);
          if (t < given - 1) continue;
          if (t === given - 1) {
            model.states.forEach((state, i) => {
              (conv[i] ??= []).push(...state.conv);
              (scan[i] ??= []).push(...state.scan);
            });
          }
          logits.push(...next);
          text.push(next.indexOf(Math.max(...next)));
        }
        tokens.push(...text);
      }
      assertEquals(tokens, [...want]);
      check(`${group}/step_logits`, logits);
      for (let i = 0; i < config.layers; i++) {
        check(`${group}/prefill.layer${i}.ssm_state`, scan[i]!);
        // The golden keeps one input more than the next step needs: the oldest of convKernel.
        const kernel = config.convKernel;
        const golden = file.floats(`${group}/prefill.layer${i}.conv_state`);
        const kept = golden.filter((_, j) => j % kernel > 0);
        assert(kept.every((v, j) => Math.abs(v - conv[i]![j]!) < 1e-4), `layer ${i} conv_state`);
      }
    }
    file.close();
  });
}
