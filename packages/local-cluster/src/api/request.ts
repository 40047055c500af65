// Requests: paths, bodies and what the client accepts.
import type { IncomingMessage } from 'node:http'
import { parse as parseYaml } from 'yaml'
import { isFields } from '../object.ts'
import type { Fields } from '../object.ts'
import { findKind } from '../kinds/kinds.ts'
import type { Kind } from '../kinds/kinds.ts'
import { ApiError, badRequest, wrongMediaType } from './errors.ts'
import { decodeProtobuf, protobufType } from './protobuf.ts'

/** Bytes; as the real server's limit. */
const largestBody = 3 * 1024 * 1024

/** What a path of a resource names. */
export interface ResourcePath {
  kind: Kind
  namespace?: string
  name?: string
  subresource?: string
  /** What follows a subresource, for proxies. */
  rest: string
}

/** Undefined when the path is not one of a resource that we have. */
export function parsePath(path: string): ResourcePath | undefined {
  const parts = path.split('/').slice(1).map(decode)
  const [root] = parts
  const [group, version, rest] =
    root === 'api' ? ['', parts[1], parts.slice(2)] : root === 'apis' ? [parts[1], parts[2], parts.slice(3)] : []
  if (group === undefined || version === undefined || !rest?.[0]) return undefined
  if (rest[0] === 'namespaces' && rest.length > 2 && rest[2] !== 'status' && rest[2] !== 'finalize') {
    const [, namespace = '', resource = '', ...more] = rest
    const kind = findKind(group, version, resource)
    return kind?.namespaced ? { kind, namespace, ...named(more) } : undefined
  }
  const kind = findKind(group, version, rest[0])
  return kind && { kind, ...named(rest.slice(1)) }
}

function named([name, subresource, ...rest]: string[]): Omit<ResourcePath, 'kind'> {
  return {
    ...(name !== undefined && name !== '' && { name }),
    ...(subresource !== undefined && { subresource }),
    rest: rest.join('/'),
  }
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part // not encoded: taken as it is, and not found
  }
}

/** The verb of a request, as authorization knows it. */
export function verbOf(method: string, { name }: ResourcePath, isWatch: boolean): string | undefined {
  switch (method) {
    case 'GET':
    case 'HEAD':
      return isWatch ? 'watch' : name === undefined ? 'list' : 'get'
    case 'POST':
      return 'create'
    case 'PUT':
      return 'update'
    case 'PATCH':
      return 'patch'
    case 'DELETE':
      return name === undefined ? 'deletecollection' : 'delete'
    default:
      return undefined
  }
}

/** @throws ApiError when it is too large */
export async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > largestBody) {
      throw new ApiError(413, 'RequestEntityTooLarge', `Request entity too large: limit is ${largestBody}`)
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

export const mediaType = (request: IncomingMessage): string =>
  (request.headers['content-type'] ?? 'application/json').split(';')[0]?.trim().toLowerCase() ?? ''

/** A body as fields. @throws ApiError when it is none of JSON, YAML and protobuf of an object */
export function parseBody(body: Buffer, type: string, kind: string): Fields {
  if (type === protobufType) return decodeProtobuf(body)
  const text = body.toString('utf8')
  let value: unknown
  try {
    if (type === 'application/json' || type === '' || type.endsWith('+json')) value = JSON.parse(text)
    else if (type === 'application/yaml' || type.endsWith('+yaml')) value = parseYaml(text, { maxAliasCount: 100 })
    else throw wrongMediaType()
  } catch (error) {
    if (error instanceof ApiError) throw error
    const shown = text.length > 40 ? `${text.slice(0, 40)} ...` : text
    throw badRequest(
      `the object provided is unrecognized (must be of type ${kind}): couldn't get version/kind; json parse error: ${(error as Error).message} (${shown})`,
    )
  }
  if (!isFields(value)) throw badRequest(`the object provided is unrecognized (must be of type ${kind})`)
  return value
}

/** How the client wants lists and objects. */
export type Accepted = 'json' | 'table'

/** @throws ApiError 406 when nothing fits */
export function accepted(request: IncomingMessage): Accepted {
  const header = request.headers.accept ?? '*/*'
  for (const choice of header.split(',').map((one) => one.trim().toLowerCase())) {
    if (/^application\/json.*as=table/.test(choice) && /v=v1(;|$)/.test(choice)) return 'table'
    if (/^(application\/json|application\/\*|\*\/\*)(;q=[\d.]+)?$/.test(choice)) return 'json'
  }
  if (/json|\*/.test(header)) return 'json'
  throw new ApiError(
    406,
    'NotAcceptable',
    'only the following media types are accepted: application/json, application/json;as=Table;v=v1;g=meta.k8s.io',
    {},
  )
}
