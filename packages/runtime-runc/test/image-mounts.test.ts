// Images as volumes of containers.
import { readFileSync } from 'node:fs'

import { ImageSpec, Mount } from '@nodelet/cri-api'
import type { DeepPartial } from '@nodelet/cri-api'
import { readMountInfo } from '@nodelet/linux'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeImage } from './registry.ts'
import { makeRuntime } from './runtime-fixture.ts'

let f: Awaited<ReturnType<typeof makeRuntime>>
let data: string
let one: string

beforeAll(async () => {
  f = await makeRuntime()
  data = `${f.registry.host}/apps/data:1`
  one = `${f.registry.host}/apps/one:1`
  const layers = [[{ name: 'model/weights', content: 'heavy' }], [{ name: 'readme', content: 'read me' }]]
  await f.registry.push('apps/data:1', await makeImage(layers))
  await f.registry.push('apps/one:1', await makeImage([[{ name: 'single', content: 'one layer' }]]))
  await f.images.pull(data)
  await f.images.pull(one)
})
afterAll(async () => f[Symbol.asyncDispose]())

const mount = (image: string, containerPath: string, more: DeepPartial<Mount> = {}): Mount =>
  Mount.fromPartial({ containerPath, readonly: true, image: ImageSpec.fromPartial({ image }), ...more })
const views = async (): Promise<string[]> =>
  (await readMountInfo()).flatMap(({ mountPoint }) => (mountPoint.includes('/view-') ? [mountPoint] : []))

async function pod(): Promise<(name: string, script: string, mounts: Mount[]) => Promise<string>> {
  const config = f.pod()
  const { runtimeService } = f.runtime
  const { podSandboxId } = await runtimeService.runPodSandbox({ config, runtimeHandler: '' })
  return async (name, script, mounts) => {
    const container = f.container(name, script, { mounts })
    const { containerId } = await runtimeService.createContainer({
      podSandboxId,
      config: container,
      sandboxConfig: config,
    })
    await runtimeService.startContainer({ containerId })
    return containerId
  }
}

/** What it wrote, by stream: one line of output may be several of the log, and the streams have no order. */
const outputOf = async (containerId: string): Promise<{ stdout: string; stderr: string }> => {
  const { exitCode } = await f.runtime.wait(containerId)
  expect(exitCode).toBe(0)
  const { status } = await f.runtime.runtimeService.containerStatus({ containerId, verbose: false })
  const output = { stdout: '', stderr: '' }
  for (const line of readFileSync(status?.logPath ?? '', 'utf8').split('\n')) {
    const [, stream, tag, text = ''] = /^\S+ (stdout|stderr) ([PF]) (.*)$/.exec(line) ?? []
    if (stream === 'stdout' || stream === 'stderr') output[stream] += tag === 'F' ? `${text}\n` : text
  }
  return output
}

test('an image of many layers, a part of it and one of a single layer are read-only volumes, until the pod stops', async () => {
  const { runtimeService, imageService } = f.runtime
  const start = await pod()
  const script = 'cat /data/model/weights /part/weights /file /one/single; echo; echo x > /data/x; echo x > /one/x'
  const container = await start('reader', `${script}; exit 0`, [
    mount(data, '/data'),
    mount(data, '/part', { imageSubPath: 'model' }),
    mount(data, '/file', { imageSubPath: '/readme' }),
    mount(one, '/one'),
  ])
  const { stdout, stderr } = await outputOf(container)
  expect(stdout).toBe('heavyheavyread meone layer\n')
  expect(stderr.match(/Read-only file system/g)).toHaveLength(2)
  expect(await views()).toHaveLength(2)
  const { status } = await runtimeService.containerStatus({ containerId: container, verbose: false })
  const image = f.images.resolve(data)
  expect(status?.mounts[0]?.image).toMatchObject({ image: data, imageRef: image?.id })

  // What a pod uses stays, though its image is removed.
  await imageService.removeImage({ image: ImageSpec.fromPartial({ image: one }) })
  await f.reopen()
  const { items } = await f.runtime.runtimeService.listPodSandbox({ filter: undefined })
  const again = await f.runtime.runtimeService.execSync({ containerId: container, cmd: [], timeout: 1n }).catch(String)
  expect(again).toContain('exited')
  expect(await views()).toHaveLength(2)
  for (const { id } of items) await f.runtime.runtimeService.stopPodSandbox({ podSandboxId: id })
  expect(await views()).toEqual([])
  await f.images.pull(one)
})

test.each([
  ['an image that is not here', () => mount('localhost/none:1', '/x'), 'image "localhost/none:1" is not here'],
  [
    'a path that the image has not',
    () => mount(data, '/x', { imageSubPath: 'no/where' }),
    'the image has no "no/where"',
  ],
  ['one to write to', () => mount(data, '/x', { readonly: false }), 'images are mounted read-only'],
  ['one that propagates', () => mount(data, '/x', { propagation: 2 }), 'images have no propagation'],
])('%s is refused with what kubelet shows', async (_, volume, message) => {
  const start = await pod()
  await expect(start('c', 'true', [volume()])).rejects.toThrow(
    expect.objectContaining({ message: expect.stringMatching(/^ImageVolumeMountFailed: mount \/x: /) as string }),
  )
  await expect(start('c', 'true', [volume()])).rejects.toThrow(message)
})

test('links in the image do not lead out of it', async () => {
  await f.registry.push(
    'apps/links:1',
    await makeImage([
      [
        { name: 'out', type: 'symlink', linkname: '/etc/passwd' },
        { name: 'etc/passwd', content: 'inside' },
      ],
    ]),
  )
  const links = `${f.registry.host}/apps/links:1`
  await f.images.pull(links)
  const start = await pod()
  const container = await start('c', 'cat /x', [mount(links, '/x', { imageSubPath: 'out' })])
  expect((await outputOf(container)).stdout).toBe('inside')
})
