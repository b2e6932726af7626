// A dozen lines of test framework for modules in a browser: `test` collects, `run` answers with the failures.

const tests = [];

export function test(name, body) {
  tests.push({ name, body });
}

export function equal(got, want, what = "") {
  const [a, b] = [JSON.stringify(got), JSON.stringify(want)];
  if (a !== b) throw new Error(`${what} got ${a}, want ${b}`);
}

export function near(got, want, tolerance, what = "") {
  if (!(Math.abs(got - want) <= tolerance)) throw new Error(`${what} got ${got}, want ${want} ± ${tolerance}`);
}

export function ok(condition, what) {
  if (!condition) throw new Error(what);
}

export async function run() {
  const failures = [];
  for (const { name, body } of tests) {
    try {
      await body();
    } catch (error) {
      failures.push(`${name}: ${error.stack ?? error}`);
    }
  }
  return { count: tests.length, failures };
}
