// Images of a real runtime, collected when the disk is said to be full.
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { makeRuntime } from '../../../runtime-runc/test/runtime-fixture.ts'
import { makeImage } from '../../../runtime-runc/test/registry.ts'
import type { KubeletConfigurationInput } from '../../src/configuration/kubelet-configuration.ts'
import { parseKubeletConfiguration } from '../../src/configuration/kubelet-configuration.ts'
import type { NodeletEvent } from '../../src/events.ts'
import { createImageCollector, type ImageCollector } from '../../src/image-gc/collector.ts'
import { silentLogger } from '../../src/log.ts'

let f: Awaited<ReturnType<typeof makeRuntime>>
let nowMs = 0
let full: { capacity: bigint; available: bigint }
let told: NodeletEvent[]
const { signal } = new AbortController()

beforeAll(async () => {
  f = await makeRuntime()
})
afterAll(async () => f?.[Symbol.asyncDispose]())
beforeEach(() => {
  nowMs = 1_000_000
  told = []
})

const open = (settings: KubeletConfigurationInput = {}, usedByVolumes: string[] = []): ImageCollector =>
  createImageCollector({
    runtime: f.runtime.runtimeService,
    imageService: f.runtime.imageService,
    usedByVolumes: () => usedByVolumes,
    configuration: parseKubeletConfiguration(settings, 'test'),
    events: { recordNode: (event) => void told.push(event) },
    diskOf: async () => full,
    clock: { now: () => nowMs, after: () => () => {} },
    log: silentLogger,
  })

async function pull(...names: string[]): Promise<string[]> {
  const references: string[] = []
  for (const name of names) {
    await f.registry.push(`gc/${name}:1`, await makeImage([[{ name, content: name.repeat(1000) }]]))
    references.push(`${f.registry.host}/gc/${name}:1`)
    await f.images.pull(references.at(-1) ?? '')
  }
  return references
}
const present = async (): Promise<string[]> => {
  const { images } = await f.runtime.imageService.listImages({})
  return images.flatMap(({ repoTags }) => repoTags.map((tag) => tag.replace(/^.*\//, ''))).toSorted()
}

it('frees what is needed, the longest unused first; what a container has stays, though it has exited', async () => {
  await pull('one', 'two')
  const { runtimeService } = f.runtime
  const sandboxConfig = f.pod()
  const { podSandboxId } = await runtimeService.runPodSandbox({ config: sandboxConfig, runtimeHandler: '' })
  const config = f.container('done', 'true')
  await runtimeService.createContainer({ podSandboxId, config, sandboxConfig })
  const collector = open()

  full = { capacity: 1000n, available: 500n }
  await collector.collect(signal)
  expect(await present()).toEqual(['busybox:1', 'one:1', 'two:1'])

  full = { capacity: 1000n, available: 199n }
  nowMs += 60_000
  await collector.collect(signal)
  expect(await present()).toEqual(['busybox:1', 'one:1', 'two:1']) // below the high threshold

  full = { capacity: 1000n, available: 150n }
  const young = collector.collect(signal)
  await expect(young).rejects.toThrow('Attempted to free 50 bytes, but only found 0 bytes eligible to free.')
  expect(told).toEqual([
    {
      type: 'Warning',
      reason: 'FreeDiskSpaceFailed',
      message:
        'Failed to garbage collect required amount of images. Attempted to free 50 bytes, but only found 0 bytes eligible to free.',
    },
  ])

  nowMs += 60_000
  await collector.collect(signal)
  expect(await present()).toHaveLength(2) // one image was enough
  await runtimeService.removePodSandbox({ podSandboxId })
})

it('removes by age what nobody used for too long, whatever the disk says', async () => {
  full = { capacity: 1000n, available: 1000n }
  const collector = open({ imageMaximumGCAge: '1h' })
  await pull('old')
  await collector.collect(signal)
  nowMs += 3_500_000
  await pull('new')
  await collector.collect(signal)
  nowMs += 101_000
  await collector.collect(signal)
  expect(await present()).toEqual(['new:1'])
})

it('removes all that is unused when eviction asks, but what a volume of a pod is made from', async () => {
  const [kept] = await pull('kept', 'gone')
  const freed = await open({}, [kept ?? '']).removeUnused(signal)
  expect(freed).toBeGreaterThan(0n)
  expect(await present()).toEqual(['kept:1'])
})

it('says when a disk has no size', async () => {
  full = { capacity: 0n, available: 0n }
  await expect(open().collect(signal)).rejects.toThrow('invalid capacity 0 on image filesystem')
  expect(told).toMatchObject([{ reason: 'InvalidDiskCapacity' }])
})
