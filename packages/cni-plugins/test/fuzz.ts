// What is thrown at parsers: values of any kind, and good ones of which something was changed.
import fc from 'fast-check'
import { expect } from 'vitest'
import { isCniError } from '../src/errors.ts'

/** Names that objects have anyway, and texts that parsers may stumble over. */
const oddText = fc.oneof(
  fc.string(),
  fc.constantFrom(
    '',
    '__proto__',
    'constructor',
    'toString',
    '\0',
    '..',
    '/',
    '10.0.0.1',
    '10.0.0.0/8',
    '::/0',
    '::1/129',
  ),
  fc.stringMatching(/^[\d.:/a-f-]{1,20}$/),
)
const leaf = fc.oneof(oddText, fc.integer(), fc.double(), fc.constantFrom(null, true, false, -1, 2 ** 53, 1e308))
/** Also such as only JSON.parse makes, with a key `__proto__`. */
export const anyValue: fc.Arbitrary<unknown> = fc
  .oneof(
    leaf,
    fc.jsonValue(),
    fc.array(leaf, { maxLength: 3 }),
    fc.dictionary(oddText, leaf, { maxKeys: 3 }).map((object) => ({ ...object, polluted: true })),
    fc.constantFrom('{"__proto__":{"polluted":true}}', '{"a":{"__proto__":{"type":"bridge"}}}').map(plainOf),
    fc.constantFrom(deep('['), deep('{"a":')).map(plainOf),
  )
  .map((value) => (value === undefined ? null : value))

/** Deeper than what walks by calling itself can go. */
function deep(open: string): string {
  const levels = 10_000
  return open.repeat(levels) + (open === '[' ? ']'.repeat(levels) : `1${'}'.repeat(levels)}`)
}

function plainOf(text: string): unknown {
  return JSON.parse(text)
}

type Container = Record<string, unknown>
const isContainer = (value: unknown): value is Container => typeof value === 'object' && value !== null

/** Below that nothing is changed: no parser looks there. */
const deepest = 8

/** Paths of everything within. */
function pathsOf(value: unknown, before: readonly string[] = []): string[][] {
  if (!isContainer(value) || before.length > deepest) return []
  return Object.keys(value).flatMap((key) => [[...before, key], ...pathsOf(value[key], [...before, key])])
}

interface Change {
  how: 'replaced' | 'dropped' | 'edited' | 'added'
  where: number
  value: unknown
}
const change: fc.Arbitrary<Change> = fc.record({
  how: fc.constantFrom('replaced', 'dropped', 'edited', 'added'),
  where: fc.nat(),
  value: anyValue,
})

function changed(copy: unknown, { how, where, value }: Change): unknown {
  const paths = pathsOf(copy)
  const path = paths[where % paths.length] ?? []
  const key = path.at(-1) ?? ''
  const parent = path.slice(0, -1).reduce<unknown>((at, one) => (at as Container)[one], copy)
  if (!isContainer(parent)) return copy
  const found = parent[key]
  if (how === 'dropped' && Array.isArray(parent)) parent.splice(Number(key), 1)
  else if (how === 'dropped') delete parent[key]
  else if (how === 'edited' && typeof found === 'string')
    parent[key] = found.slice(0, where % 7) + String(leafOf(value))
  else if (how === 'edited' && typeof found === 'number') parent[key] = found * -1.5
  else if (how === 'added') put(parent, `more${where % 3}`, value)
  else put(parent, key, value)
  return copy
}

const leafOf = (value: unknown): unknown => (isContainer(value) ? '__proto__' : value)
const put = (object: Container, key: string, value: unknown): void =>
  void Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true })

/** Good ones with up to three changes. */
export const mutated = (good: unknown): fc.Arbitrary<unknown> =>
  fc.array(change, { minLength: 1, maxLength: 3 }).map((changes) => changes.reduce(changed, structuredClone(good)))

/** The text of JSON, mostly: of what JSON cannot tell, that of null. */
export const jsonOf = (value: unknown): string => {
  try {
    return JSON.stringify(value) ?? 'null'
  } catch {
    return deep('[')
  }
}
export const anyText: fc.Arbitrary<string> = fc.oneof(fc.string(), oddText, anyValue.map(jsonOf))

/** Longer than any parser takes for what comes here, in milliseconds. */
const patienceMs = 1_000

/** Returns, or throws as it promises. */
export async function isRobust<Input>(
  inputs: fc.Arbitrary<Input>,
  parse: (input: Input) => unknown,
  told: RegExp = /\S/,
): Promise<void> {
  await fc.assert(
    fc.asyncProperty(inputs, async (input) => {
      const began = performance.now()
      try {
        await parse(input)
      } catch (error) {
        if (!isCniError(error)) throw error
        expect(error.message).toMatch(told)
        expect(error.message).not.toContain('[object')
        expect(error.message.length).toBeLessThan(1_000)
      }
      expect(performance.now() - began).toBeLessThan(patienceMs)
      expect(({} as { polluted?: unknown }).polluted).toBeUndefined()
    }),
    { numRuns: 150 },
  )
}
