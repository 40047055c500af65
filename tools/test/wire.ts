// Checks that a .proto file of ours says what the reference table says, and that its generated code is current.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import protobuf from 'protobufjs'
import { expect, test } from 'vitest'
import { generate } from '../generate.ts'

interface Table {
  package: string
  services: Record<string, Record<string, [string, string, string]>>
  enums: Record<string, Record<string, number>>
  messages: Record<string, [number, string, string, string, string?][]>
}

export interface WireFiles {
  /** Folder of the package, for instance `packages/cri-api`. */
  folder: string
  /** Below `proto`. */
  proto: string
  /** Reference table, below `test/fixtures`. */
  table: string
}

function* within(space: protobuf.NamespaceBase): Iterable<protobuf.ReflectionObject> {
  for (const object of space.nestedArray) {
    yield object
    if (object instanceof protobuf.Namespace) yield* within(object)
  }
}

const byNumber = (a: readonly unknown[], b: readonly unknown[]) => Number(a[0]) - Number(b[0])

/** Defines the tests of one file. */
export function testWire({ folder, proto, table: tableFile }: WireFiles): void {
  const at = (...path: string[]): string => join(import.meta.dirname, '../..', folder, ...path)
  const table = JSON.parse(readFileSync(at('test/fixtures', tableFile), 'utf8')) as Table
  const { root, imports = [] } = protobuf.parse(readFileSync(at('proto', proto), 'utf8'), { keepCase: true })
  for (const known of imports) root.addJSON(protobuf.common.get(known)?.nested ?? {})
  root.resolveAll()
  const space = root.lookup(table.package) as protobuf.Namespace
  const names = (type: protobuf.ReflectionObject) => type.fullName.replace(`.${table.package}.`, '')
  const typeName = (field: protobuf.Field) => (field.resolvedType ? names(field.resolvedType) : field.type)
  const fieldRow = (field: protobuf.Field): [number, string, string, string] =>
    field instanceof protobuf.MapField
      ? [field.id, field.name, `map<${field.keyType},${typeName(field)}>`, 'map']
      : [field.id, field.name, typeName(field), field.repeated ? 'repeated' : '']
  const objects = [...within(space)]

  test(`${proto}: every message has the fields of the reference: number, name, type, label`, () => {
    const ours = objects.filter((object) => object instanceof protobuf.Type)
    expect(
      Object.fromEntries(ours.map((type) => [names(type), type.fieldsArray.map(fieldRow).toSorted(byNumber)])),
    ).toEqual(
      Object.fromEntries(
        Object.entries(table.messages).map(([name, fields]) => [
          name,
          fields.map((field) => field.slice(0, 4)).toSorted(byNumber),
        ]),
      ),
    )
  })

  test(`${proto}: every enum has the values of the reference`, () => {
    const ours = objects.filter((object) => object instanceof protobuf.Enum)
    expect(Object.fromEntries(ours.map((type) => [names(type), type.values]))).toEqual(table.enums)
  })

  test(`${proto}: every service has the RPCs of the reference`, () => {
    const ours = objects.filter((object) => object instanceof protobuf.Service)
    const row = (rpc: protobuf.Method) => [rpc.requestType, rpc.responseType, rpc.responseStream ? 's' : '']
    const rpcs = (service: protobuf.Service) =>
      Object.fromEntries(service.methodsArray.map((rpc) => [rpc.name, row(rpc)]))
    const expected = Object.entries(table.services).map(([name, list]) => [
      name,
      Object.fromEntries(Object.entries(list).map(([rpc, facts]) => [rpc, facts.slice(0, 3)])),
    ])
    expect(Object.fromEntries(ours.map((service) => [service.name, rpcs(service)]))).toEqual(
      Object.fromEntries(expected),
    )
  })

  test(`${proto}: the checked-in code is what the generator makes`, () => {
    const out = mkdtempSync(join(tmpdir(), 'nodelet-generate-'))
    const code = `${basename(proto, '.proto')}.ts`
    try {
      generate(join(folder, 'proto'), out)
      expect(readFileSync(join(out, code), 'utf8')).toBe(readFileSync(at('src/gen', code), 'utf8'))
    } finally {
      rmSync(out, { recursive: true })
    }
  })
}
