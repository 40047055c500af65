// A daemon that is killed at each step of pulling an image.
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { useImages } from './use-images.ts'

const at = useImages()
const isPartial = (line: string): boolean => line.includes('/images/incoming/')

test.each([
  'image/blob-partial#9',
  'image/blob-written',
  'image/blob-stored#4',
  'image/layer-unpacked',
  'record/written',
  'image/layer-recorded',
  'image/layer-stored',
  'image/layer-stored#3',
])('PullImage, killed at %s: nothing is left but what the next pull goes on with', async (point) => {
  await at.daemon.dieAt(point, at.pull)
  expect(await at.idOf()).toBeUndefined()
  const kept = at.partials()
  await expect.poll(async () => (await at.daemon.state()).filter((line) => !isPartial(line))).toEqual(at.before)
  const sizes = new Map(kept.map((hex) => [hex, statSync(join(at.daemon.folder, 'images/incoming', hex)).size]))
  at.front.asked.length = 0
  await at.pull()
  expect(at.partials()).toEqual([])
  for (const [hex, size] of sizes) {
    const digest = `sha256:${hex}`
    const ranges = at.front.asked.flatMap(({ url, range }) => (url.includes(digest) ? [range] : []))
    const whole = at.image.blobs.get(digest)?.length
    expect(ranges).toEqual(size === whole ? [] : [size === 0 ? undefined : `bytes=${size}-`])
  }
  await at.expectWhole('one')
})

test('PullImage, killed in the middle of a blob: what came of it is not fetched again', async () => {
  const [, noise = ''] = at.image.layers
  let sent = 0
  at.front.meddle = (request, response, pass) => {
    if (!request.url?.includes(noise)) return pass()
    sent = 300_000
    response.writeHead(200, { 'content-length': at.image.blobs.get(noise)?.length })
    response.write(at.image.blobs.get(noise)?.subarray(0, sent))
  }
  const pulling = at.pull().catch((error: Error) => error)
  const partial = join(at.daemon.folder, 'images/incoming', noise.slice('sha256:'.length))
  await expect
    .poll(() => (at.partials().length > 0 ? statSync(partial, { throwIfNoEntry: false })?.size : 0))
    .toBe(300_000)
  await at.daemon.kill()
  expect(await pulling).toBeInstanceOf(Error)
  await at.daemon.start()
  at.front.meddle = (_, __, pass) => pass()
  at.front.asked.length = 0
  await at.pull()
  expect(at.front.asked.filter(({ url }) => url.includes(noise)).map(({ range }) => range)).toEqual([`bytes=${sent}-`])
  await at.expectWhole('one')
})

test('PullImage, killed when the image is known: it is whole', async () => {
  await at.daemon.dieAt('image/recorded', at.pull)
  expect(await at.idOf()).toBe(at.image.id)
  await at.expectWhole('one')
})

test.each(['record/written', 'image/names-taken', 'record/written#2', 'image/recorded'])(
  'a name that moves to another image, killed at %s: it names the one or the other',
  async (point) => {
    await at.pull()
    await at.daemon.registry.push('apps/layers:1', at.other)
    try {
      await at.daemon.dieAt(point, at.pull)
      const id = await at.idOf()
      expect([at.image.id, at.other.id]).toContain(id)
      await at.expectWhole(id === at.other.id ? 'two' : 'one')
      const { images } = await at.daemon.client.imageService.listImages({ filter: undefined })
      expect(images.filter(({ repoTags }) => repoTags.includes(at.name)).map((one) => one.id)).toEqual([id])
      expect(await at.pull()).toBe(at.other.id)
      await at.expectWhole('two')
    } finally {
      await at.daemon.registry.push('apps/layers:1', at.image)
      for (const { id } of [at.image, at.other]) await at.remove(id)
    }
  },
)
