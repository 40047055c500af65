// Checksums of state files as the Go kubelet computes them, so that either takes over the other's files: FNV-1a in 32 bits
// over the data as Go's printer shows it, with the names of types and fields. Pure.

/** A value with what Go calls its type: a string, number, list of bytes, list, map or struct. */
export interface GoType {
  name: string
  show(value: unknown): string
}

/** Absent lists and maps, as opposed to empty ones. */
const nil = '<nil>'

const plain = (name: string): GoType => ({ name, show: String })
export const goString: GoType = plain('string')
export const goInt: GoType = plain('int')
export const goUint64: GoType = plain('uint64')
/** Given in base64, as JSON has it. */
export const goBytes: GoType = {
  name: '[]uint8',
  show: (value) => `[${[...Buffer.from(value as string, 'base64')].join(' ')}]`,
}

export function goList(of: GoType, name = `[]${of.name}`): GoType {
  const show = (value: unknown): string =>
    value === undefined ? nil : `[${(value as unknown[]).map((one) => of.show(one)).join(' ')}]`
  return { name, show }
}

/** Keys are in order: of numbers by value, of all others by their bytes. */
export function goMap(key: GoType, of: GoType, name = `map[${key.name}]${of.name}`): GoType {
  const inOrder = (keys: string[]): string[] =>
    keys.toSorted(
      key === goInt ? (a, b) => Number(a) - Number(b) : (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)),
    )
  const show = (value: unknown): string => {
    if (value === undefined) return nil
    const all = value as Record<string, unknown>
    return `map[${inOrder(Object.keys(all))
      .map((one) => `${one}:${of.show(all[one])}`)
      .join(' ')}]`
  }
  return { name, show }
}

/** Field in Go → type, and its name in JSON. */
export function goStruct(name: string, fields: Readonly<Record<string, readonly [GoType, json: string]>>): GoType {
  const show = (value: unknown): string => {
    const all = value as Record<string, unknown>
    return `{${Object.entries(fields)
      .map(([field, [type, json]]) => `${field}:(${type.name})${type.show(all[json])}`)
      .join(' ')}}`
  }
  return { name, show }
}

/** In lists and maps. */
export const goPointer = (to: GoType): GoType => ({ name: `*${to.name}`, show: (value) => `<*>${to.show(value)}` })

export function goChecksum(type: GoType, value: unknown): number {
  let hash = 0x811c9dc5
  for (const byte of Buffer.from(`(${type.name})${type.show(value)}`)) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash >>> 0
}
