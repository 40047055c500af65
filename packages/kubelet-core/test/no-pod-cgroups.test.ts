// KubeletConfiguration `cgroupsPerQOS: false`: the kubelet makes no cgroups, and names none to the runtime.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { RunPodSandboxRequest } from '@nodelet/cri-api'
import { openCgroups } from '@nodelet/linux'
import { expect, it } from 'vitest'
import { folder, memory, open, put, runningOf, useFixture, withAddresses } from './fixture.ts'

useFixture()

it('pods run where the runtime puts them', async () => {
  await mkdir(join(folder, 'manifests'))
  const spec = { containers: [{ name: 'main', image: 'registry.example/web:1', imagePullPolicy: 'IfNotPresent' }] }
  await put('web', spec)
  const parents: (string | undefined)[] = []
  const runtimeService = {
    ...withAddresses(memory),
    runPodSandbox: async (request: RunPodSandboxRequest) => {
      parents.push(request.config?.linux?.cgroupParent)
      return memory.runtimeService.runPodSandbox(request)
    },
  }
  const cgroupRoot = `/nodelet-none-${process.pid}`
  const configuration = { cgroupsPerQOS: false, enforceNodeAllocatable: [], cgroupRoot }
  const kubelet = await open({ cgroups: undefined, runtimeService, configuration })
  await runningOf(kubelet, 'web')
  expect(parents).toEqual([''])
  expect(await (await openCgroups()).exists(cgroupRoot)).toBe(false)
})
