// The cgroups of the classes of service, on the real kernel.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { openCgroups } from '@nodelet/linux'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { expect, it } from 'vitest'
import { cgroupFolders } from '../../runtime-runc/test/fixture.ts'
import { createCgroupDriver } from '../src/resource/cgroup-driver.ts'

const pod = (uid: string, cpu?: string): Pod => ({
  metadata: { uid, name: uid, namespace: 'default' },
  spec: {
    containers: [{ name: 'a', ...(cpu !== undefined && { resources: { requests: { cpu } } }) }],
  },
})

const isV2 = existsSync('/sys/fs/cgroup/cgroup.controllers')

it.skipIf(isV2)('burstable pods together have the shares that they ask for', async () => {
  const cgroups = await openCgroups()
  const cgroupRoot = `/qos-${process.pid}`
  const shares = (path: string): number =>
    cgroupFolders(`${cgroupRoot}/kubepods/${path}`)
      .flatMap((folder) => {
        try {
          return [Number(readFileSync(join(folder, 'cpu.shares'), 'utf8'))]
        } catch {
          return [] // another controller's folder
        }
      })
      .at(0) ?? 0
  try {
    const driver = createCgroupDriver(cgroups, { cgroupRoot })
    await driver.start({ milliCpu: 4000n, memoryBytes: 1n << 30n })
    expect([shares(''), shares('burstable'), shares('besteffort')]).toEqual([4096, 2, 2])
    await Promise.all([driver.create(pod('u1', '500m')), driver.create(pod('u2', '250m')), driver.create(pod('u3'))])
    expect([shares('burstable'), shares('burstable/podu2'), shares('besteffort/podu3')]).toEqual([768, 256, 2])
    await driver.create(pod('u1', '1'))
    expect(shares('burstable')).toBe(1280)
    // A kubelet that starts anew leaves it until it has seen the pods.
    const next = createCgroupDriver(cgroups, { cgroupRoot })
    await next.start({ milliCpu: 4000n, memoryBytes: 1n << 30n })
    expect(shares('burstable')).toBe(1280)
    await next.create(pod('u1', '1'))
    expect(shares('burstable')).toBe(1024)
    await next.remove('u1')
    expect(shares('burstable')).toBe(2)
  } finally {
    await cgroups.remove(cgroupRoot)
  }
})
