// Containers are kept from swap, also on a node that has none now.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { CreateContainerRequest } from '@nodelet/cri-api'
import { openCgroups } from '@nodelet/linux'
import { expect, it } from 'vitest'
import { folder, memory, open, put, runningOf, useFixture, withAddresses } from './fixture.ts'

useFixture()

it('as far as the kernel can limit it', async () => {
  const cgroups = await openCgroups()
  const cgroupRoot = `/nodelet-swap-${process.pid}`
  await using undo = new AsyncDisposableStack()
  undo.defer(async () => cgroups.remove(cgroupRoot))
  await mkdir(join(folder, 'manifests'))
  const resources = { limits: { memory: '64Mi' } }
  await put('web', {
    containers: [{ name: 'main', image: 'registry.example/web:1', imagePullPolicy: 'IfNotPresent', resources }],
  })
  const told: unknown[] = []
  const runtimeService = {
    ...withAddresses(memory),
    createContainer: async (request: CreateContainerRequest) => {
      const { memorySwapLimitInBytes, unified } = request.config?.linux?.resources ?? {}
      told.push([memorySwapLimitInBytes, unified?.['memory.swap.max']])
      return memory.runtimeService.createContainer(request)
    },
  }
  const kubelet = await open({ cgroups: undefined, runtimeService, configuration: { cgroupRoot } })
  undo.defer(async () => kubelet.close())
  await runningOf(kubelet, 'web')
  const limits = await cgroups.limitsSwap(`${cgroupRoot}/kubepods`)
  const bytes = cgroups.version === 1 && limits ? 64n << 20n : 0n
  expect(told).toEqual([[bytes, cgroups.version === 2 && limits ? '0' : undefined]])
})
