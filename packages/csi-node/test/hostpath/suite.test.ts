// The suite for drivers, with volumes of each kind: folders, images with ext4 and xfs, block devices.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type MountInfo, readMountInfo, unmount } from '@nodelet/linux'
import {
  type ControllerFunctions,
  createDriver,
  CsiError,
  ensureMounted,
  ensureTarget,
  type NodeFunctions,
  removeTarget,
} from '@nodelet/csi-node/sdk'
import { driverSuite, type DriverUnderTest } from '@nodelet/csi-node/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { maySetResources } from './capability.ts'
import { openWorld, type World } from './world.ts'

const kinds: Record<string, Omit<DriverUnderTest, 'socketPath' | 'folder'>> = {
  folder: {},
  'image with ext4': { parameters: { backing: 'image' }, fsType: 'ext4' },
  'image with xfs': { parameters: { backing: 'image' }, fsType: 'xfs', sizeBytes: 300 * 2 ** 20 },
  block: { isBlock: true },
}

let world: World
beforeAll(async () => {
  world = await openWorld({ enableAttach: true })
})
afterAll(async () => world[Symbol.asyncDispose]())

for (const [kind, more] of Object.entries(kinds)) {
  describe(kind, () => {
    const cases = driverSuite(() => ({ socketPath: world.socketPath, folder: world.folder, ...more }))
    for (const { name, run } of cases) {
      // The guest has the privilege: guest.test.ts.
      const wantsPrivilege = kind.endsWith('ext4') && name.startsWith('NodeExpandVolume: a published volume')
      test.skipIf(wantsPrivilege && !maySetResources())(name, async () => {
        expect(await run()).toBe('passed')
      })
    }
  })
}

describe('of a driver that does little, and that badly', () => {
  const node: NodeFunctions = { info: () => ({ nodeId: 'n' }), publish: () => undefined, unpublish: () => undefined }

  /** What the suite has left. */
  let mounted: MountInfo[]
  async function outcomes(functions: NodeFunctions, controller?: ControllerFunctions): Promise<Record<string, string>> {
    const folder = mkdtempSync(join(tmpdir(), 'csi-suite-'))
    try {
      const driver = createDriver({
        name: 'little.example.com',
        version: '1',
        node: functions,
        ...(controller && { controller }),
      })
      await using serving = await driver.serve({ endpoint: join(folder, 'csi.sock'), register: false })
      const cases = driverSuite(() => ({ socketPath: serving.socketPath, folder }))
      const ended = await Promise.all(
        cases.map(async ({ name, run }) => [name, await run().catch((error: Error) => error.message)] as const),
      )
      return Object.fromEntries(ended)
    } finally {
      mounted = await readMountInfo('self', { below: folder })
      for (const { mountPoint } of mounted) unmount(mountPoint, { detach: true })
      rmSync(folder, { recursive: true })
    }
  }

  test('what it does not claim is told so, what it must do passes', async () => {
    const ended = await outcomes(node)
    expect(ended).toMatchObject({
      'NodeGetInfo: an id of at most 256 bytes, and a limit that is none or more': 'passed',
      'NodePublishVolume: what is missing is INVALID_ARGUMENT, an unknown volume NOT_FOUND': 'passed',
      'CreateVolume: the same again is the same volume': 'not claimed',
      'NodeGetVolumeStats: how full it is, where it is published': 'not claimed',
    })
    expect(Object.values(ended).filter((each) => !['passed', 'not claimed'].includes(each))).toEqual([])
  })

  test('a lie is found', async () => {
    const ended = await outcomes({
      ...node,
      info: () => ({ nodeId: 'x'.repeat(257) }),
    })
    expect(ended['NodeGetInfo: an id of at most 256 bytes, and a limit that is none or more']).toMatch(/node_id/)
  })
  test('what is wrong is told although it cannot be taken away, and what should not be mounted is not left so', async () => {
    const publishing: NodeFunctions = {
      ...node,
      stage: () => undefined,
      unstage: () => undefined,
      async publish({ targetPath }) {
        await ensureTarget(targetPath, 'folder')
        await ensureMounted({ source: 'tmpfs', target: targetPath, type: 'tmpfs' })
      },
      unpublish: async ({ targetPath }) => removeTarget(targetPath),
    }
    const ended = await outcomes(publishing, {
      create: ({ name }) => ({ volumeId: name, capacityBytes: 1 }),
      delete({ volumeId }) {
        throw new CsiError('INTERNAL', `${volumeId.slice(0, 6)} stays`)
      },
      validate: () => undefined,
    })
    expect(ended['CreateVolume: a volume has an id and at least the size']).toMatch(
      /^capacity_bytes .*; then: 13 INTERNAL: volume stays$/,
    )
    expect(ended['NodePublishVolume: before the volume is staged it is FAILED_PRECONDITION']).toMatch(
      /^NodePublishVolume ended with OK; not with FAILED_PRECONDITION; then: 13 INTERNAL: volume stays$/,
    )
    expect(mounted).toEqual([])
  })
})
