// Pods that must go: over their own limits, and for a node that runs short. Everything is real but the shortage.
import { nodes } from '@nodelet/kube-client'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { expect, it } from 'vitest'
import { isReady, startWholeCluster, stay } from './whole-cluster.ts'

const failed = ({ status }: Pod): boolean => status?.phase === 'Failed'
const disruptionOf = ({ status }: Pod) => status?.conditions?.find(({ type }) => type === 'DisruptionTarget')

it('a pod whose volume outgrows its limit is evicted, and no other', async () => {
  await using world = await startWholeCluster()
  const { create, shell, watched, read } = world
  const holding = async (name: string, mebibytes: number): Promise<Pod> =>
    create(name, {
      containers: [
        shell(`head -c ${mebibytes}m /dev/zero > /data/file; ${stay}`, {
          volumeMounts: [{ name: 'data', mountPath: '/data' }],
        }),
      ],
      volumes: [{ name: 'data', emptyDir: { sizeLimit: '2Mi' } }],
    })
  const [small, large] = [await holding('small', 1), await holding('large', 3)]
  await watched(small, isReady)
  const evicted = await watched(large, failed)
  expect(evicted.status).toMatchObject({
    reason: 'Evicted',
    message: 'Usage of EmptyDir volume "data" exceeds the limit "2Mi". ',
  })
  expect(disruptionOf(evicted)).toBeUndefined()
  expect((await read('small')).status?.phase).toBe('Running')
})

it('a node short of memory says so, takes no more best effort, and evicts who uses more than asked for', async () => {
  // More than this must always be left: so the node is always short.
  const evictionHard = { 'memory.available': '99%' }
  await using world = await startWholeCluster({ configuration: { evictionHard, enforceNodeAllocatable: ['none'] } })
  const { create, shell, watched, admin } = world
  const pressed = async () => {
    const { status } = await admin.get(nodes, { name: 'node-1' })
    return status?.conditions?.find(({ type }) => type === 'MemoryPressure')
  }
  await expect.poll(pressed).toMatchObject({
    status: 'True',
    reason: 'KubeletHasInsufficientMemory',
    message: 'kubelet has insufficient memory available',
  })
  const refused = await watched(await create('best-effort', { containers: [shell(stay)] }), failed)
  expect(refused.status).toMatchObject({
    reason: 'Evicted',
    message: 'Pod was rejected: The node had condition: [MemoryPressure]. ',
  })
  const asking = async (memory: string): Promise<Pod> =>
    create(`asks-${memory.toLowerCase()}`, { containers: [shell(stay, { resources: { requests: { memory } } })] })
  const [modest, ample] = [await asking('1Ki'), await asking('64Mi')]
  const ends = await Promise.all([watched(modest, failed), watched(ample, failed)])
  const texts = ends.map(({ status }) => status?.message ?? '')
  expect(texts[0]).toMatch(
    /^The node was low on resource: memory. Threshold quantity: \d+\w*, available: \d+\w*. Container main was using \d+\w*, request is 1Ki, has larger consumption of memory. $/,
  )
  expect(texts[1]).toMatch(/^The node was low on resource: memory. Threshold quantity: \d+\w*, available: \d+\w*. $/)
  expect(ends.map(disruptionOf)).toMatchObject(
    texts.map((message) => ({ status: 'True', reason: 'TerminationByKubelet', message })),
  )
})
