// CPUs of one's own, on the CPUs of this machine.
import { availableParallelism } from 'node:os'
import { pods } from '@nodelet/kube-client'
import { expect, it } from 'vitest'
import { isReady, namespace, startWholeCluster } from './whole-cluster.ts'

it.skipIf(availableParallelism() < 2)(
  'a guaranteed pod has a CPU for itself, which others leave while they run, and come back to',
  async () => {
    const configuration = { cpuManagerPolicy: 'static', kubeReserved: { cpu: '100m' }, evictionHard: {} } as const
    await using world = await startWholeCluster({ configuration })
    const { admin, create, shell, watched } = world
    const watching = 'trap exit TERM; while true; do grep Cpus_allowed_list /proc/1/status; sleep 0.1 & wait $!; done'
    const allowedOf = async (name: string): Promise<string | undefined> => {
      const path = `/api/v1/namespaces/${namespace}/pods/${name}/log?tailLines=1`
      return /:\s*(\S+)/.exec(await (await admin.raw({ path })).body.text())?.[1]
    }
    const all = `0-${availableParallelism() - 1}`
    await watched(await create('shared', { containers: [shell(watching)] }), isReady)
    await expect.poll(async () => allowedOf('shared')).toBe(all)
    const limits = { cpu: '1', memory: '64Mi' }
    await watched(await create('own', { containers: [shell(watching, { resources: { limits } })] }), isReady)
    await expect.poll(async () => allowedOf('own')).toMatch(/^\d+$/)
    const own = await allowedOf('own')
    await expect.poll(async () => allowedOf('shared')).not.toBe(all)
    expect(await allowedOf('shared')).not.toBe(own)
    await admin.delete(pods, { name: 'own', namespace })
    await expect.poll(async () => allowedOf('shared'), { timeout: 15_000 }).toBe(all)
  },
)
