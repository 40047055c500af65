// Call trees in pprof's format. Pure.
import type { Runtime } from 'node:inspector'
import { fileURLToPath } from 'node:url'
import { Profile, type Sample } from '../gen/profile.ts'

/** A function as it was called from its parents, and what was counted in it alone. */
export interface CallNode {
  callFrame: Runtime.CallFrame
  /** One for each type of value. */
  values: readonly number[]
  children: readonly CallNode[]
}

/** A kind of value and its unit, for instance `cpu` in `nanoseconds`. */
export type ValueKind = readonly [type: string, unit: string]

export interface ProfileFacts {
  values: readonly ValueKind[]
  /** What one sample stands for. */
  period: { kind: ValueKind; value: number }
  /** Since the epoch. */
  beganMs: number
  durationMs: number
}

/** A path from a node to the root. */
interface Path {
  id: bigint
  parent: Path | undefined
}

const integer = (value: number): bigint => BigInt(Math.round(value))
const nanoseconds = (ms: number): bigint => integer(ms * 1e6)

/** @param root stands for no function. @see https://github.com/google/pprof/blob/main/proto/README.md */
export function encodeProfile(root: CallNode, facts: ProfileFacts): Uint8Array {
  const texts = new Map([['', 0n]])
  const text = (value: string): bigint => {
    const known = texts.get(value) ?? BigInt(texts.size)
    texts.set(value, known)
    return known
  }
  const kind = ([type, unit]: ValueKind): { type: bigint; unit: bigint } => ({ type: text(type), unit: text(unit) })
  const ids = new Map<string, bigint>()
  const profile = Profile.fromPartial({
    sampleType: facts.values.map(kind),
    timeNanos: nanoseconds(facts.beganMs),
    durationNanos: nanoseconds(facts.durationMs),
    periodType: kind(facts.period.kind),
    period: integer(facts.period.value),
  })
  /** A function has one location: which of its lines ran is not told. */
  const locate = ({ scriptId, functionName, url, lineNumber, columnNumber }: Runtime.CallFrame): bigint => {
    const key = `${scriptId}:${lineNumber}:${columnNumber}:${functionName}`
    const known = ids.get(key)
    if (known !== undefined) return known
    const id = BigInt(ids.size + 1)
    ids.set(key, id)
    const [name, line] = [text(functionName || '(anonymous)'), BigInt(lineNumber + 1)]
    const filename = text(url.startsWith('file:') ? fileURLToPath(url) : url)
    profile.function.push({ id, name, systemName: name, filename, startLine: line })
    profile.location.push({ id, line: [{ functionId: id, line }] })
    return id
  }
  const waiting: [node: CallNode, path: Path | undefined][] = root.children.map((node) => [node, undefined])
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const [node, parent] = next
    const path = { id: locate(node.callFrame), parent }
    if (node.values.some((value) => value > 0)) profile.sample.push(sampleOf(path, node.values))
    for (const child of node.children) waiting.push([child, path])
  }
  profile.stringTable = [...texts.keys()]
  return Profile.encode(profile).finish()
}

function sampleOf(path: Path, values: readonly number[]): Sample {
  const locationId: bigint[] = []
  for (let at: Path | undefined = path; at; at = at.parent) locationId.push(at.id)
  return { locationId, value: values.map(integer) }
}
