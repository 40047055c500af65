// What tests of killed pulls and removals share: an image of three layers and another one with the same lowest.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { ImageSpec } from '@nodelet/cri-api'
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest'
import { noiseOf } from '../noise.ts'
import { makeImage } from '../registry.ts'
import type { TarEntry, TestImage } from '../registry.ts'
import { startFront } from '../registry-front.ts'
import type { Front } from '../registry-front.ts'
import { busyboxFiles } from '../runtime-fixture.ts'
import { makeDaemon } from './fixture.ts'
import type { Daemon } from './fixture.ts'

export interface ImageFixture {
  daemon: Daemon
  front: Front
  pod: string
  /** Of the machine before the test. */
  before: string[]
  /** What the front calls the image. */
  name: string
  image: TestImage
  other: TestImage
  pull(): Promise<string>
  remove(wanted: string): Promise<void>
  /** What the name stands for here. */
  idOf(): Promise<string | undefined>
  /** Blobs that came in part. */
  partials(): string[]
  /** Runs a container of the name, whose file says this. */
  expectWhole(said: string): Promise<void>
}

const text = (content: string): TarEntry[] => [{ name: 'said', content }]
const spec = (image: string): ImageSpec => ImageSpec.fromPartial({ image })

/** After each test the image is removed, the machine is as before, and a container of another image still runs. */
export function useImages(): ImageFixture {
  const at = {
    pull: async () => {
      const request = { image: spec(at.name), auth: undefined, sandboxConfig: undefined }
      return (await at.daemon.client.imageService.pullImage(request)).imageRef
    },
    remove: async (wanted) => void (await at.daemon.client.imageService.removeImage({ image: spec(wanted) })),
    idOf: async () =>
      (await at.daemon.client.imageService.imageStatus({ image: spec(at.name), verbose: false })).image?.id,
    partials: () => readdirSync(join(at.daemon.folder, 'images/incoming')),
    expectWhole: async (said) => {
      const containerId = await at.daemon.run(at.pod, 'sleep 600', { image: { image: at.name } })
      expect(await at.daemon.exec(containerId, 'cat /said')).toBe(said)
      await at.daemon.runtime.removeContainer({ containerId })
    },
  } as ImageFixture
  let bystander: string
  beforeAll(async () => {
    at.daemon = await makeDaemon()
    at.front = await startFront(at.daemon.registry.host)
    at.name = `${at.front.host}/apps/layers:1`
    const files = busyboxFiles()
    // Larger than what a network gives at once.
    at.image = await makeImage([files, [{ name: 'noise', content: noiseOf(1_000_000) }], text('one')])
    at.other = await makeImage([files, text('two')])
    await at.daemon.registry.push('apps/layers:1', at.image)
    await at.daemon.registry.push('apps/layers:2', at.other)
    at.pod = await at.daemon.runPod()
    bystander = await at.daemon.run(at.pod, 'sleep 600')
  })
  afterAll(async () => {
    await at.daemon[Symbol.asyncDispose]()
    await at.front[Symbol.asyncDispose]()
  })
  beforeEach(async () => {
    at.before = await at.daemon.state()
    at.front.asked.length = 0
  })
  afterEach(async () => {
    await at.remove(at.name)
    await at.daemon.expectState(at.before)
    expect(await at.daemon.exec(bystander, 'echo here')).toBe('here')
    expect(at.daemon.problems.splice(0)).toEqual([])
  })
  return at
}
