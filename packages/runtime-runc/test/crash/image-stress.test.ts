// Pulls, removals and containers side by side, with a daemon that dies: what is reported is what is on the disk.
import { setTimeout as sleep } from 'node:timers/promises'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ImageSpec } from '@nodelet/cri-api'
import type { FilesystemUsage, ImageService } from '@nodelet/cri-api'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { takenBelow } from '../disk.ts'
import { noiseOf } from '../noise.ts'
import { makeImage } from '../registry.ts'
import { busyboxFiles } from '../runtime-fixture.ts'
import { makeDaemon } from './fixture.ts'
import type { Daemon } from './fixture.ts'
import { randomFrom } from './random.ts'

const IMAGES = 6
const WORKERS = 4
const CALLS = 20
/** What a client gets which is not alone: the image was removed by another before it was used. */
const usual = /pull it first|NOT_FOUND/

let daemon: Daemon
let pod: string
beforeAll(async () => {
  daemon = await makeDaemon()
  const base = busyboxFiles()
  for (let at = 0; at < IMAGES; at += 1) {
    // Of two each the middle one is the same, of all the lowest.
    const middle = [{ name: `middle${at >> 1}`, content: noiseOf(400_000, `middle${at >> 1}`) }]
    const image = await makeImage([base, middle, [{ name: 'said', content: `image ${at}` }]])
    await daemon.registry.push(`apps/stress:${at}`, image)
  }
  pod = await daemon.runPod()
  await daemon.run(pod, 'sleep 600')
})
afterAll(async () => daemon[Symbol.asyncDispose]())

const nameOf = (at: number): string => `${daemon.registry.host}/apps/stress:${at}`
const spec = (image: string): ImageSpec => ImageSpec.fromPartial({ image })
const service = (): ImageService => daemon.client.imageService
const pull = async (at: number, signal?: AbortSignal) =>
  service().pullImage(
    { image: spec(nameOf(at)), auth: undefined, sandboxConfig: undefined },
    signal === undefined ? {} : { signal },
  )
const remove = async (at: number) => service().removeImage({ image: spec(nameOf(at)) })

/** Runs a container of an image that says which one it is. */
async function use(at: number): Promise<void> {
  const containerId = await daemon.run(pod, 'sleep 600', { image: { image: nameOf(at) } })
  try {
    expect(await daemon.exec(containerId, 'cat /said')).toBe(`image ${at}`)
    await remove(at)
    expect(await daemon.exec(containerId, `cat /said; wc -c < /middle${at >> 1}`)).toBe(`image ${at}400000`)
  } finally {
    await daemon.runtime.removeContainer({ containerId })
  }
}

/** Blobs and layers on the disk that no record has, or that lack. */
function differences(): string[] {
  const images = join(daemon.folder, 'images')
  const records = readdirSync(join(images, 'images')).map(
    (file) =>
      JSON.parse(readFileSync(join(images, 'images', file), 'utf8')) as {
        id: string
        chain: string[]
        blobs: string[]
      },
  )
  const roots = readdirSync(join(images, 'rootfs')).map(
    (key) => JSON.parse(readFileSync(join(images, 'rootfs', key, 'rootfs.json'), 'utf8')) as { chain: string[] },
  )
  // Of a layer that a container kept here the blob did not come again.
  const needed = [...[...records, ...roots].flatMap(({ chain }) => chain), ...records.map(({ id }) => id)]
  const wanted = new Set([...needed, ...records.flatMap(({ blobs }) => blobs)])
  const layers = readdirSync(join(images, 'l')).map(
    (name) => (JSON.parse(readFileSync(join(images, 'l', name, 'layer.json'), 'utf8')) as { chainId: string }).chainId,
  )
  const here = [...layers, ...readdirSync(join(images, 'blobs/sha256')).map((hex) => `sha256:${hex}`)]
  return [
    ...here.filter((one) => !wanted.has(one)).map((one) => `+ ${one}`),
    ...needed.filter((one) => !here.includes(one)).map((one) => `- ${one}`),
    ...here.filter((one, index) => here.indexOf(one) !== index && layers.indexOf(one) !== layers.lastIndexOf(one)),
    ...readdirSync(join(images, 'incoming')),
  ]
}

async function expectExact(): Promise<void> {
  await expect.poll(differences).toEqual([])
  const root = join(daemon.folder, 'images')
  const usageOf = (one: FilesystemUsage | undefined) => ({
    bytes: Number(one?.usedBytes?.value),
    inodes: Number(one?.inodesUsed?.value),
  })
  const { imageFilesystems, containerFilesystems } = await service().imageFsInfo({})
  const [layers, written] = [takenBelow(join(root, 'l'), 'fs'), takenBelow(join(root, 'rootfs'), 'upper')]
  const taken = { bytes: layers.bytes + written.bytes, inodes: layers.inodes + written.inodes }
  expect(usageOf(imageFilesystems[0])).toEqual(taken)
  expect(usageOf(containerFilesystems[0])).toEqual(taken)
}

test('pulls, removals and containers at random: nothing breaks, nothing is left, and sizes are exact', async () => {
  const seed = Number(process.env['FAULTS_SEED'] ?? Date.now() % 1_000_000)
  console.info(`seed: FAULTS_SEED=${seed}`)
  const random = randomFrom(seed)
  const before = await daemon.state()
  const some = (): number => Math.floor(random() * IMAGES)
  const unexpected: string[] = []
  let isDead = false
  const calls: [string, (at: number) => Promise<unknown>][] = [
    ['pull', async (at) => pull(at)],
    ['pull', async (at) => pull(at)],
    ['left', async (at) => pull(at, AbortSignal.timeout(1 + Math.floor(random() * 60)))],
    ['remove', remove],
    ['use', use],
    ['pull and use', async (at) => pull(at).then(async () => use(at))],
    ['sizes', async () => service().imageFsInfo({})],
    ['list', async () => service().listImages({ filter: undefined })],
  ]
  const worker = async (): Promise<void> => {
    for (let done = 0; done < CALLS && !isDead; done += 1) {
      const [name, call] = calls[Math.floor(random() * calls.length)] ?? []
      try {
        await call?.(some())
      } catch (error) {
        const { code = '', message } = error as Error & { code?: string }
        if (isDead || name === 'left' || usual.test(`${code} ${message}`)) continue
        unexpected.push(`${name}: ${code}: ${message}`)
      }
    }
  }
  const work = Promise.all(Array.from({ length: WORKERS }, worker))
  await Promise.race([work, sleep(500 + random() * 2000)])
  isDead = true
  await daemon.kill()
  await work
  await daemon.start()
  isDead = false
  // A client that found nobody waits a while before it looks again.
  const list = async () => (await daemon.runtime.listContainers({ filter: undefined })).containers
  await expect.poll(async () => list().then(() => 'here', String)).toBe('here')
  for (const { id, image } of await list()) {
    if (image?.image !== daemon.image) await daemon.runtime.removeContainer({ containerId: id })
  }
  await Promise.all(Array.from({ length: WORKERS }, worker))
  expect(unexpected).toEqual([])
  // What came of pulls that were left is taken up or gone when all have come.
  await Promise.all(Array.from({ length: IMAGES }, async (_, at) => pull(at)))
  await expectExact()
  const containerId = await daemon.run(pod, 'sleep 600', { image: { image: nameOf(1) } })
  await daemon.exec(containerId, 'dd if=/dev/zero of=/written bs=1000 count=300 2>&1; mkdir /more; touch /more/a')
  for (let at = 0; at < IMAGES; at += 2) await remove(at)
  await expectExact()
  for (let at = 0; at < IMAGES; at += 1) await remove(at)
  await expectExact()
  await daemon.runtime.removeContainer({ containerId })
  await expectExact()
  await daemon.expectState(before)
  expect(daemon.problems).toEqual([])
}, 120_000)
