// `dra_manager_state`, as Go kubelets write it too.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { readClaims, writeClaims } from '../../src/dra/checkpoint.ts'
import type { ClaimInfo } from '../../src/dra/state.ts'

let folder: string
let path: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dra-'))
  path = join(folder, 'dra_manager_state')
})
afterEach(async () => rm(folder, { recursive: true, force: true }))

it('a file of the Go kubelet is read', async () => {
  // Content and checksum as Kubernetes' own tests have them.
  const claims = [
    {
      ClaimUID: '067798be-454e-4be4-9047-1aa06aea63f7',
      ClaimName: 'example-1',
      Namespace: 'default',
      PodUIDs: { '139cdb46-f989-4f17-9561-ca10cfb509a6': {} },
      DriverState: {
        'test-driver.cdi.k8s.io': {
          Devices: [
            {
              PoolName: 'worker-1',
              DeviceName: 'dev-1',
              RequestNames: ['test request'],
              CDIDeviceIDs: ['example.com/example=cdi-example'],
            },
          ],
        },
      },
    },
    {
      ClaimUID: '4cf8db2d-06c0-7d70-1a51-e59b25b2c16c',
      ClaimName: 'example-2',
      Namespace: 'default',
      PodUIDs: { '139cdb46-f989-4f17-9561-ca10cfb509a6': {} },
      DriverState: {
        'test-driver.cdi.k8s.io': {
          Devices: [{ PoolName: 'worker-1', DeviceName: 'dev-2', RequestNames: null, CDIDeviceIDs: null }],
        },
      },
    },
  ]
  const Data = JSON.stringify({
    kind: 'DRACheckpoint',
    apiVersion: 'checkpoint.dra.kubelet.k8s.io/v1',
    ClaimInfoStateList: claims,
  })
  await writeFile(path, JSON.stringify({ Data, Checksum: 1582256999 }))
  expect(await readClaims(path)).toEqual([
    {
      uid: '067798be-454e-4be4-9047-1aa06aea63f7',
      name: 'example-1',
      namespace: 'default',
      podUids: new Set(['139cdb46-f989-4f17-9561-ca10cfb509a6']),
      drivers: new Map([
        [
          'test-driver.cdi.k8s.io',
          [
            {
              pool: 'worker-1',
              device: 'dev-1',
              shareId: undefined,
              requests: ['test request'],
              cdiIds: ['example.com/example=cdi-example'],
            },
          ],
        ],
      ]),
      prepared: false,
    },
    expect.objectContaining({
      name: 'example-2',
      drivers: new Map([
        [
          'test-driver.cdi.k8s.io',
          [{ pool: 'worker-1', device: 'dev-2', shareId: undefined, requests: [], cdiIds: [] }],
        ],
      ]),
    }),
  ])
})

it('what was written is read again', async () => {
  const words = fc.array(fc.string(), { maxLength: 3 })
  const text = fc.string({ minLength: 1 }).filter((name) => name !== '__proto__')
  const devices = fc.array(
    fc.record({
      pool: fc.string(),
      device: fc.string(),
      shareId: fc.option(fc.string(), { nil: undefined }),
      requests: words,
      cdiIds: words,
    }),
    { maxLength: 2 },
  )
  const claim: fc.Arbitrary<ClaimInfo> = fc.record({
    uid: fc.string(),
    name: fc.string(),
    namespace: fc.string(),
    podUids: fc.array(text, { maxLength: 3 }).map((uids) => new Set(uids)),
    drivers: fc.array(fc.tuple(text, devices), { maxLength: 2 }).map((all) => new Map(all)),
    prepared: fc.constant(false),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(claim, { maxLength: 3 }), async (claims) => {
      await writeClaims(path, claims)
      expect(await readClaims(path)).toEqual(claims)
    }),
    { numRuns: 30 },
  )
})

it('a file that cannot be trusted is refused, with what to do; without one there are no claims', async () => {
  expect(await readClaims(path)).toEqual([])
  await writeClaims(path, [])
  const text = await readFile(path, 'utf8')
  const other = JSON.stringify({ kind: 'DRACheckpoint', apiVersion: 'checkpoint.dra.kubelet.k8s.io/v9' })
  for (const [broken, why] of [
    [text.replace('Claim', 'claim'), 'its checksum does not fit its content'],
    [JSON.stringify({ Data: other, Checksum: crc32(other) }), 'Data.apiVersion: '],
    ['{}', 'Data: '],
  ] as const) {
    await writeFile(path, broken)
    await expect(readClaims(path)).rejects.toThrow(`${path}: ${why}`)
    await expect(readClaims(path)).rejects.toThrow('drain this node, remove the file and start the kubelet again')
  }
})
