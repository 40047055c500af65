import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import protobuf from 'protobufjs'
import { expect, test } from 'vitest'
import { generate } from '../../../tools/generate.ts'

interface Table {
  package: string
  services: Record<string, Record<string, [string, string, string]>>
  enums: Record<string, Record<string, number>>
  messages: Record<string, [number, string, string, string, string?][]>
}

const here = import.meta.dirname
const table = JSON.parse(readFileSync(join(here, 'fixtures/cri-v1.json'), 'utf8')) as Table
const source = readFileSync(join(here, '../proto/runtime.proto'), 'utf8')
const root = protobuf.parse(source, { keepCase: true }).root.resolveAll()
const names = (type: protobuf.ReflectionObject) => type.fullName.replace(/^\.runtime\.v1\.?/, '')

function* within(space: protobuf.NamespaceBase): Iterable<protobuf.ReflectionObject> {
  for (const object of space.nestedArray) {
    yield object
    if (object instanceof protobuf.Namespace) yield* within(object)
  }
}
const objects = [...within(root)]

const typeName = (field: protobuf.Field) => (field.resolvedType ? names(field.resolvedType) : field.type)
function fieldRow(field: protobuf.Field): [number, string, string, string] {
  if (field instanceof protobuf.MapField)
    return [field.id, field.name, `map<${field.keyType},${typeName(field)}>`, 'map']
  return [field.id, field.name, typeName(field), field.repeated ? 'repeated' : '']
}
const byNumber = (a: readonly unknown[], b: readonly unknown[]) => Number(a[0]) - Number(b[0])

test('every message has the fields of the reference: number, name, type, label', () => {
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

test('every enum has the values of the reference', () => {
  const ours = objects.filter((object) => object instanceof protobuf.Enum)
  expect(Object.fromEntries(ours.map((type) => [names(type), type.values]))).toEqual(table.enums)
})

test('every service has the RPCs of the reference', () => {
  const ours = objects.filter((object) => object instanceof protobuf.Service)
  const row = (rpc: protobuf.Method) => [rpc.requestType, rpc.responseType, rpc.responseStream ? 's' : '']
  const rpcs = (service: protobuf.Service) =>
    Object.fromEntries(service.methodsArray.map((rpc) => [rpc.name, row(rpc)]))
  const expected = Object.entries(table.services).map(([name, list]) => [
    name,
    Object.fromEntries(Object.entries(list).map(([rpc, facts]) => [rpc, facts.slice(0, 3)])),
  ])
  expect(Object.fromEntries(ours.map((service) => [service.name, rpcs(service)]))).toEqual(Object.fromEntries(expected))
})

test('the checked-in code is what the generator makes', () => {
  const folder = mkdtempSync(join(tmpdir(), 'nodelet-generate-'))
  try {
    generate('packages/cri-api/proto', folder)
    expect(readFileSync(join(folder, 'runtime.ts'), 'utf8')).toBe(
      readFileSync(join(here, '../src/gen/runtime.ts'), 'utf8'),
    )
  } finally {
    rmSync(folder, { recursive: true })
  }
})
