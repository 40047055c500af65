// OpenAPI v2, which kubectl asks for before it applies lists, and older ones before they apply anything. It describes no
// kind: v3 does, and what is sent is checked here (`fieldValidation`).
import { serverVersion } from './server-version.ts'

const swagger = '2.0'
const title = 'Kubernetes'

export const openApiV2: object = {
  swagger,
  info: { title, version: serverVersion.gitVersion },
  paths: {},
  definitions: {},
}

export const openApiV2Type = 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf'

/** A field of protobuf's wire type 2, shorter than 128 bytes. */
const field = (number: number, content: Buffer): Buffer =>
  Buffer.concat([Buffer.from([(number << 3) | 2, content.length]), content])
const text = (number: number, content: string): Buffer => field(number, Buffer.from(content))

/** The same as `openapi.v2.Document` of gnostic. */
export function encodeOpenApiV2(): Buffer {
  const info = Buffer.concat([text(1, title), text(2, serverVersion.gitVersion)])
  const [infoNumber, pathsNumber, definitionsNumber] = [2, 8, 9] as const
  const empty = Buffer.alloc(0)
  return Buffer.concat([
    text(1, swagger),
    field(infoNumber, info),
    field(pathsNumber, empty),
    field(definitionsNumber, empty),
  ])
}
