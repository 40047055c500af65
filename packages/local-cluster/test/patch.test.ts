import { expect, test } from 'vitest'
import { applyStrategicPatch } from '../src/api/patch.ts'
import { schemaOf } from '../src/kinds/schema.ts'

const a = { name: 'a', image: 'x' }
const b = { name: 'b', image: 'y' }
const containers = (...list: object[]): object => ({ spec: { containers: list } })

test.each([
  ['items merge by key', containers(a, b), containers({ name: 'b', image: 'z' }), containers(a, { ...b, image: 'z' })],
  ['$patch: delete', containers(a, b), containers({ name: 'a', $patch: 'delete' }), containers(b)],
  ['$patch: replace', containers(a, b), containers({ $patch: 'replace' }, b), containers(b)],
  [
    '$setElementOrder',
    containers(a, b),
    { spec: { '$setElementOrder/containers': [{ name: 'b' }, { name: 'a' }] } },
    containers(b, a),
  ],
  [
    '$deleteFromPrimitiveList',
    { metadata: { finalizers: ['a/b', 'c/d'] } },
    { metadata: { '$deleteFromPrimitiveList/finalizers': ['a/b'] } },
    { metadata: { finalizers: ['c/d'] } },
  ],
  [
    '$retainKeys',
    { spec: { volumes: [{ name: 'v', emptyDir: {} }] } },
    { spec: { volumes: [{ name: 'v', $retainKeys: ['name', 'hostPath'], hostPath: { path: '/h' } }] } },
    { spec: { volumes: [{ name: 'v', hostPath: { path: '/h' } }] } },
  ],
])('strategic merge: %s', (_, target, patch, result) => {
  const before = structuredClone(target)
  expect(applyStrategicPatch(target, patch, schemaOf('v1', 'Pod'))).toEqual(result)
  expect(target).toEqual(before)
})
