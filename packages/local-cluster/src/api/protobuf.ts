// Bodies in Kubernetes' protobuf, which Go clients send since 1.32, as the same object in JSON. Pure.
import { readFileSync } from 'node:fs'
import { fieldsAt, isFields } from '../object.ts'
import type { Fields } from '../object.ts'
import { badRequest } from './errors.ts'
import { bytesOf, fieldsOf, numberOf, textOf, WireError } from './wire.ts'
import type { WireValue } from './wire.ts'

export const protobufType = 'application/vnd.kubernetes.protobuf'

/** Numbers and types of fields: `openapi/wire.json`. */
interface WireTable {
  /** `apiVersion/Kind` → message. */
  kinds: Record<string, string>
  /** Message → number → `name type`, as `parseField` reads it. */
  messages: Record<string, Record<string, string>>
}

interface WireField {
  name: string
  type: string
  shape: 'one' | 'list' | 'map'
  /** Its fields are the outer object's own. */
  inline: boolean
  /** Zero and the empty text say that it is not there. */
  zeroIsAbsent: boolean
}

let loaded: WireTable | undefined
const table = (): WireTable =>
  (loaded ??= JSON.parse(readFileSync(new URL('../../openapi/wire.json', import.meta.url), 'utf8')) as WireTable)

const messages = new Map<string, ReadonlyMap<number, WireField>>()

function messageOf(name: string): ReadonlyMap<number, WireField> {
  const known = messages.get(name)
  if (known) return known
  const fields = Object.entries(table().messages[name] ?? {}).map(([number, text]): [number, WireField] => [
    Number(number),
    parseField(text),
  ])
  const made = new Map(fields)
  messages.set(name, made)
  return made
}

/** `name type`; before the type `[]` for a list, `{}` for a map, `...` for inline; after it `?` where zero is absent. */
function parseField(text: string): WireField {
  const [name = '', rest = ''] = text.split(' ')
  const [, before = '', type = '', after = ''] = /^(\[\]|\{\}|\.\.\.)?([^?]+)(\?)?$/.exec(rest) ?? []
  const shape = before === '[]' ? 'list' : before === '{}' ? 'map' : 'one'
  return { name, type, shape, inline: before === '...', zeroIsAbsent: after === '?' }
}

const magic = Buffer.from('k8s\0')

/** @throws ApiError 400 when the body is not protobuf of an object that this server knows */
export function decodeProtobuf(body: Buffer): Fields {
  if (!body.subarray(0, magic.length).equals(magic)) {
    throw badRequest(
      'provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]: send it so, or as JSON',
    )
  }
  try {
    return decodeEnvelope(body.subarray(magic.length))
  } catch (error) {
    if (!(error instanceof WireError)) throw error
    throw badRequest(`the protobuf object could not be read: ${error.message}`)
  }
}

/** `runtime.Unknown`: apiVersion and kind (1), the object's bytes (2), how those are encoded (3). */
function decodeEnvelope(bytes: Uint8Array): Fields {
  const parts = partsOf(bytes)
  const named = partsOf(bytesOf(parts.get(1) ?? nothing))
  const [apiVersion, kind] = [textOf(named.get(1) ?? nothing), textOf(named.get(2) ?? nothing)]
  const encoding = textOf(parts.get(3) ?? nothing)
  if (encoding !== '') throw new WireError(`content encoding ${encoding} is not supported`)
  // Options of a request are registered in every group.
  const message = kind === 'DeleteOptions' ? 'meta.v1.DeleteOptions' : table().kinds[`${apiVersion}/${kind}`]
  if (message === undefined) throw new WireError(`no kind "${kind}" is registered for version "${apiVersion}"`)
  return { apiVersion, kind, ...decode(message, bytesOf(parts.get(2) ?? nothing)) }
}

const nothing = new Uint8Array()

/** The last value of each field. */
const partsOf = (bytes: Uint8Array): Map<number, WireValue> =>
  new Map([...fieldsOf(bytes)].map(({ number, value }) => [number, value]))

/** Fields that the table does not have are skipped, as protobuf means it. */
function decode(message: string, bytes: Uint8Array, into: Fields = {}): Fields {
  const known = messageOf(message)
  for (const { number, value } of fieldsOf(bytes)) {
    const field = known.get(number)
    if (field) take(field, value, into)
  }
  return into
}

function take({ name, type, shape, inline, zeroIsAbsent }: WireField, value: WireValue, into: Fields): void {
  if (inline) decode(type, bytesOf(value), into)
  else if (shape === 'list') {
    const list = (into[name] ??= []) as unknown[]
    list.push(valueOf(type, value))
  } else if (shape === 'map') {
    const parts = partsOf(bytesOf(value))
    const entry = valueOf(type, parts.get(2) ?? nothing)
    // Defined, not assigned: a key may be `__proto__`.
    Object.defineProperty(fieldsAt(into, name), textOf(parts.get(1) ?? nothing), { value: entry, ...ordinary })
  } else {
    const before = into[name]
    const one = valueOf(type, value, isFields(before) ? before : undefined)
    if (zeroIsAbsent && (one === '' || one === 0 || one === false)) return
    into[name] = one
  }
}

const ordinary = { enumerable: true, writable: true, configurable: true } as const

function valueOf(type: string, value: WireValue, before?: Fields): unknown {
  switch (type) {
    case 'string':
      return textOf(value)
    case 'bytes':
      return Buffer.from(bytesOf(value)).toString('base64')
    case 'bool':
      return numberOf(value) !== 0
    case 'int':
      return numberOf(value)
    default: {
      const short = special[type]
      return short ? short(bytesOf(value)) : decode(type, bytesOf(value), before)
    }
  }
}

const millisecond = 1000
const microsecond = 1000
const microDigits = 6

/** Messages that JSON writes as one value. */
const special: Readonly<Record<string, (bytes: Uint8Array) => unknown>> = {
  'resource.Quantity': (bytes) => textOf(partsOf(bytes).get(1) ?? nothing),
  'meta.v1.Time': (bytes) => timeOf(bytes, 0),
  'meta.v1.MicroTime': (bytes) => timeOf(bytes, microDigits),
  'meta.v1.FieldsV1': (bytes) => {
    try {
      return JSON.parse(textOf(partsOf(bytes).get(1) ?? Buffer.from('{}'))) as unknown
    } catch (cause) {
      throw new WireError(`managed fields are not JSON: ${(cause as Error).message}`, { cause })
    }
  },
  // Whether it is a text (1), the number (2), the text (3).
  'intstr.IntOrString': (bytes) => {
    const parts = partsOf(bytes)
    return parts.get(1) === 1n ? textOf(parts.get(3) ?? nothing) : numberOf(parts.get(2) ?? 0n)
  },
  ExtraValue: (bytes) => [...fieldsOf(bytes)].map(({ value }) => textOf(value)),
}

/** RFC 3339 with as many digits of a second; null for a time that is not set. */
function timeOf(bytes: Uint8Array, digits: number): string | null {
  if (bytes.length === 0) return null
  const parts = partsOf(bytes)
  const seconds = numberOf(parts.get(1) ?? 0n)
  const date = new Date(seconds * millisecond)
  if (Number.isNaN(date.getTime())) throw new WireError(`time ${seconds} is out of range`)
  const whole = date.toISOString().slice(0, -'.000Z'.length)
  const micros = Math.floor(numberOf(parts.get(2) ?? 0n) / microsecond)
  return digits === 0 ? `${whole}Z` : `${whole}.${String(micros).padStart(digits, '0')}Z`
}
