// Files of the image store that have something else in them.
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { makeDaemon } from './fixture.ts'
import type { Daemon } from './fixture.ts'

let daemon: Daemon
let pod: string
beforeAll(async () => {
  daemon = await makeDaemon()
  pod = await daemon.runPod()
})
afterAll(async () => daemon[Symbol.asyncDispose]())
beforeEach(async () => daemon.kill())

const texts = ['', '{}', 'null']

test.each(texts)('an image record that has become %j is told of; another pull mends it', async (text) => {
  const folder = join(daemon.folder, 'images/images')
  for (const name of readdirSync(folder)) writeFileSync(join(folder, name), text)
  await daemon.start()
  expect(daemon.problems.splice(0)).toContainEqual(expect.stringMatching(/not an image record: pull the image again/))
  await expect(daemon.create(pod, 'true')).rejects.toThrow(/failed to resolve image .*: pull it first/)
  await daemon.pull()
  expect(await daemon.exec(await daemon.run(pod, 'sleep 600'), 'echo works')).toBe('works')
})

test.each(['', '{}'])(
  'a layer record that has become %j: its image is told of; another pull mends it',
  async (text) => {
    const folder = join(daemon.folder, 'images/l')
    for (const name of readdirSync(folder)) writeFileSync(join(folder, name, 'layer.json'), text)
    await daemon.start()
    expect(daemon.problems.splice(0)).toContainEqual(expect.stringMatching(/pull it again|pull the image again/))
    await daemon.pull()
    expect(await daemon.exec(await daemon.run(pod, 'sleep 600'), 'echo works')).toBe('works')
  },
)
