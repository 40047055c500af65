// Pulling, naming, listing and removing images.
import { deepStrictEqual, match, notStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { type Image, ListImagesRequest } from '../gen/runtime.ts'
import { type Checks, eventually, type ValidationRuntime } from './suite-checks.ts'
import { imageSpec, openPod, pull } from './suite-pod.ts'

const find = async ({ imageService }: ValidationRuntime, name: string): Promise<Image | undefined> =>
  (await imageService.imageStatus({ image: imageSpec(name), verbose: false })).image
const list = async ({ imageService }: ValidationRuntime, name?: string): Promise<Image[]> => {
  const filter = name === undefined ? {} : { filter: { image: { image: name } } }
  return (await imageService.listImages(ListImagesRequest.fromPartial(filter))).images
}

async function remove(runtime: ValidationRuntime, name: string): Promise<void> {
  const found = await find(runtime, name)
  if (found) await runtime.imageService.removeImage({ image: imageSpec(found.id) })
}

/** Pulls, checks and removes by ID; afterwards it is neither found nor listed. */
async function pulled(
  runtime: ValidationRuntime,
  names: string[],
  check: (image: Image, names: string[]) => void,
): Promise<void> {
  for (const name of names) await remove(runtime, name)
  const references = []
  for (const name of names) references.push(await pull(runtime, name))
  const image = await find(runtime, names[0] ?? '')
  ok(image, `${names[0]} is not found after it was pulled`)
  for (const reference of references) strictEqual(reference, image.id)
  match(image.id, /^sha256:[0-9a-f]{64}$/)
  ok(image.size > 0n)
  strictEqual((await list(runtime)).filter(({ id }) => id === image.id).length, 1)
  check(image, names)
  await runtime.imageService.removeImage({ image: imageSpec(image.id) })
  strictEqual(await find(runtime, image.id), undefined)
  ok(!(await list(runtime)).some(({ id }) => id === image.id))
}

export const imageChecks: Checks = {
  async 'by tag: the tag and a digest are its names'(runtime) {
    await pulled(runtime, [runtime.image('tagged:1')], ({ repoTags, repoDigests }, names) => {
      deepStrictEqual(repoTags, names)
      strictEqual(repoDigests.length, 1)
      match(repoDigests[0] ?? '', /^[^@]+\/tagged@sha256:[0-9a-f]{64}$/)
    })
  },
  async 'without a tag: latest'(runtime) {
    const name = runtime.image('untagged')
    await pulled(runtime, [name], ({ repoTags }) => deepStrictEqual(repoTags, [`${name}:latest`]))
  },
  async 'by digest: no tag, and the digest as its only name'(runtime) {
    await pull(runtime, runtime.image('digested:1'))
    const [digest = ''] = (await find(runtime, runtime.image('digested:1')))?.repoDigests ?? []
    await pulled(runtime, [digest], ({ repoTags, repoDigests }, names) => {
      deepStrictEqual([repoTags, repoDigests], [[], names])
    })
  },
  async 'by tag and digest: the digest counts'(runtime) {
    const tagged = runtime.image('both:1')
    const id = await pull(runtime, tagged)
    const [digest = ''] = (await find(runtime, tagged))?.repoDigests ?? []
    await remove(runtime, tagged)
    const name = `${runtime.image('both:other')}@${digest.split('@')[1]}`
    strictEqual(await pull(runtime, name), id)
    deepStrictEqual((await find(runtime, name))?.repoDigests, [digest])
    await remove(runtime, id)
  },
  async 'one image under three tags is listed once, with the three'(runtime) {
    const names = ['a', 'b', 'c'].map((tag) => runtime.image(`same:${tag}`))
    await pulled(runtime, names, ({ repoTags, repoDigests }) => {
      deepStrictEqual(repoTags.toSorted(), names)
      strictEqual(repoDigests.length, 1)
    })
  },
  async 'three tags of different images are three images, each with its tag'(runtime) {
    const names = ['a', 'b', 'c'].map((tag) => runtime.image(`different:${tag}`))
    const ids = []
    for (const name of names) ids.push(await pull(runtime, name))
    strictEqual(new Set(ids).size, 3)
    const all = await list(runtime)
    const tags = ids.map((id) => all.find((image) => image.id === id)?.repoTags)
    deepStrictEqual(
      tags,
      names.map((name) => [name]),
    )
    for (const name of names) await remove(runtime, name)
  },
  async 'from two registries: one ID, both names'(runtime) {
    const names = [runtime.image('shared:1'), runtime.image('shared:1', 'second')]
    await pulled(runtime, names, ({ repoTags, repoDigests }) => {
      deepStrictEqual(repoTags.toSorted(), names.toSorted())
      strictEqual(repoDigests.length, 2)
    })
  },
  async 'is found by tag, digest, ID, and the ID without its algorithm, alike'(runtime) {
    const name = runtime.image('references:1')
    await pull(runtime, name)
    const image = await find(runtime, name)
    ok(image)
    const hex = image.id.slice('sha256:'.length)
    const others = [image.id, hex, hex.slice(0, 20), ...image.repoTags, ...image.repoDigests]
    for (const other of others) deepStrictEqual(await find(runtime, other), image, other)
    await remove(runtime, name)
  },
  async 'has the user of its configuration: a number as uid, else a name'(runtime) {
    const users: [string, bigint | undefined, string][] = [
      ['uid', 1002n, ''],
      ['username', undefined, 'www-data'],
      ['uid-group', 1003n, ''],
      ['username-group', undefined, 'www-data'],
    ]
    for (const [tag, uid, username] of users) {
      await pull(runtime, runtime.image(`user:${tag}`))
      const image = await find(runtime, runtime.image(`user:${tag}`))
      deepStrictEqual([image?.uid?.value, image?.username], [uid, username], tag)
      await remove(runtime, runtime.image(`user:${tag}`))
    }
  },
  async 'a filter finds it among others, and nothing for a stranger'(runtime) {
    const name = runtime.image('filtered:1')
    const id = await pull(runtime, name)
    await pull(runtime, runtime.image('busybox:1'))
    for (const by of [name, id]) {
      deepStrictEqual(
        (await list(runtime, by)).map((image) => image.id),
        [id],
        by,
      )
    }
    deepStrictEqual(await list(runtime, runtime.image('nowhere:none')), [])
    await remove(runtime, name)
  },
  async 'an unknown one is no error to ask for, but to pull'(runtime) {
    strictEqual(await find(runtime, runtime.image('nowhere:none')), undefined)
    await rejects(pull(runtime, runtime.image('nowhere:none')))
    await rejects(pull(runtime, `${runtime.image('nowhere')}:NOT/valid`))
  },
  async 'a pull that is called off fails, and the next one succeeds'(runtime) {
    const { imageService, image } = runtime
    const request = { image: imageSpec(image('deadline:1')), auth: undefined, sandboxConfig: undefined }
    await rejects(imageService.pullImage(request, { signal: AbortSignal.timeout(1) }))
    await pull(runtime, image('deadline:1'))
    await remove(runtime, image('deadline:1'))
  },
  async 'verbose ImageStatus shows the configuration of the image'(runtime) {
    const image = imageSpec(runtime.image('busybox:1'))
    await pull(runtime, image.image)
    const { info } = await runtime.imageService.imageStatus({ image, verbose: true })
    const { imageSpec: shown, chainID } = JSON.parse(info['info'] ?? '{}') as Record<string, unknown>
    match(String(chainID), /^sha256:/)
    deepStrictEqual((shown as { config?: { Env?: string[] } }).config?.Env, ['FROM=image'])
  },
  async 'five pulls at once all succeed, with one ID'(runtime) {
    await remove(runtime, runtime.image('tagged:2'))
    const ids = await Promise.all(Array.from({ length: 5 }, async () => pull(runtime, runtime.image('tagged:2'))))
    strictEqual(new Set(ids).size, 1)
    deepStrictEqual((await find(runtime, ids[0] ?? ''))?.repoTags, [runtime.image('tagged:2')])
    await remove(runtime, runtime.image('tagged:2'))
  },
  async 'five removals at once all succeed, and it is gone after each'(runtime) {
    const id = await pull(runtime, runtime.image('removed:1'))
    const removals = Array.from({ length: 5 }, async () => {
      await runtime.imageService.removeImage({ image: imageSpec(id) })
      strictEqual(await find(runtime, id), undefined)
    })
    await Promise.all(removals)
  },
  async 'removal by tag or digest takes all names of the image'(runtime) {
    const names = ['a', 'b'].map((tag) => runtime.image(`named:${tag}`))
    for (const way of ['tag', 'digest'] as const) {
      for (const name of names) await pull(runtime, name)
      const image = await find(runtime, names[0] ?? '')
      const name = way === 'tag' ? names[0] : image?.repoDigests[0]
      await runtime.imageService.removeImage({ image: imageSpec(name ?? '') })
      for (const other of names) strictEqual(await find(runtime, other), undefined, `${other} by ${way}`)
    }
  },
  async 'a container keeps running when its image is removed'(runtime) {
    const name = runtime.image('inuse:1')
    await using pod = await openPod(runtime)
    const containerId = await pod.run({ image: { image: name } })
    const { id } = (await find(runtime, name)) ?? { id: '' }
    try {
      await runtime.imageService.removeImage({ image: imageSpec(id) })
    } catch (error) {
      match(String(error), /in use/)
    }
    strictEqual(await pod.output(containerId, 'cat', '/etc/hostname'), await pod.output(containerId, 'hostname'))
    strictEqual((await pod.container(containerId)).imageId || id, id)
  },
  async 'ImageFsInfo tells a place and what is used of it, which grows with an image'(runtime) {
    const used = async (): Promise<bigint> => {
      const { imageFilesystems } = await runtime.imageService.imageFsInfo({})
      const { fsId, timestamp = 0n, inodesUsed, usedBytes } = imageFilesystems[0] ?? {}
      ok(fsId?.mountpoint.startsWith('/') && timestamp > 0n && inodesUsed !== undefined)
      return usedBytes?.value ?? 0n
    }
    const before = await used()
    await pull(runtime, runtime.image('big:1'))
    const after = await eventually('usage grows', async () => {
      const now = await used()
      return now > before && now
    })
    notStrictEqual(after, 0n)
    await remove(runtime, runtime.image('big:1'))
  },
}
