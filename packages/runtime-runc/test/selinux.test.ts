// SELinux labels: the pure parts, and files that are labelled on a disk that keeps labels.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SELinuxOption } from '@nodelet/cri-api'
import { getXattr } from '@nodelet/linux'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { readDefaultLabels } from '../src/selinux/host.ts'
import { atLevel, freeLevel, labelsFor, levelOf, parseLabel } from '../src/selinux/labels.ts'
import { relabel } from '../src/selinux/relabel.ts'
import { spec } from './spec-input.ts'

const pod = {
  process: 'system_u:system_r:container_t:s0:c1,c2',
  mount: 'system_u:object_r:container_file_t:s0:c1,c2',
}
const options = (some: Partial<SELinuxOption>): SELinuxOption => SELinuxOption.fromPartial(some)

test.each<[string, Partial<SELinuxOption>, string, string]>([
  ['nothing', {}, pod.process, pod.mount],
  ['a type', { type: 'spc_t' }, 'system_u:system_r:spc_t:s0:c1,c2', pod.mount],
  ['a role', { role: 'web_r' }, 'system_u:web_r:container_t:s0:c1,c2', pod.mount],
  ['a user', { user: 'web_u' }, 'web_u:system_r:container_t:s0:c1,c2', 'web_u:object_r:container_file_t:s0:c1,c2'],
  [
    'a level',
    { level: 's0:c7,c9' },
    'system_u:system_r:container_t:s0:c7,c9',
    'system_u:object_r:container_file_t:s0:c7,c9',
  ],
  [
    'all',
    { user: 'u', role: 'r', type: 't', level: 's0-s1:c1.c3,c5' },
    'u:r:t:s0-s1:c1.c3,c5',
    'u:object_r:container_file_t:s0-s1:c1.c3,c5',
  ],
])('who asks for %s', (_, asked, process, mount) => {
  expect(labelsFor(pod, options(asked))).toEqual({ process, mount })
})

test.each<[Partial<SELinuxOption>, string]>([
  [{ level: 'high' }, `the format of 'level' "high" is not correct`],
  [{ level: 's0:c1,' }, `the format of 'level' "s0:c1," is not correct`],
  [{ level: 's0:c10000' }, 'is not correct'],
  [{ type: 'a:b' }, 'selinux_options.type "a:b"'],
  [{ user: 'a"b' }, 'selinux_options.user "a\\"b"'],
])('%j is refused', (asked, told) => {
  expect(() => labelsFor(pod, options(asked))).toThrow(told)
})

test('a pod has two categories that no other has, whatever comes out first', () => {
  fc.assert(
    fc.property(fc.array(fc.nat()), (numbers) => {
      const taken = new Set<string>()
      for (const number of numbers)
        taken.add(
          freeLevel(
            (level) => taken.has(level),
            (below) => number % below,
          ),
        )
      expect(taken.size).toBe(numbers.length)
      for (const level of taken) {
        const [, low, high] = /^s0:c(\d+),c(\d+)$/.exec(level) ?? []
        expect(Number(low)).toBeLessThan(Number(high))
        expect(Number(high)).toBeLessThan(1024)
      }
    }),
  )
  expect(
    freeLevel(
      () => false,
      (below) => below - 1,
    ),
  ).toBe('s0:c1022,c1023')
  expect(
    freeLevel(
      (level) => level === 's0:c1022,c1023',
      (below) => below - 1,
    ),
  ).toBe('s0:c0,c1')
  expect(() =>
    freeLevel(
      () => true,
      () => 0,
    ),
  ).toThrow('remove pods')
  expect(levelOf(atLevel(pod, 's0:c3,c4'))).toBe('s0:c3,c4')
})

test('the spec: processes but of the privileged are labelled, mounts are; without labels nothing is', () => {
  const labelled = { sandbox: { selinux: pod } }
  const plain = spec({}, undefined, labelled)
  expect([plain.process.selinuxLabel, plain.linux.mountLabel]).toEqual([pod.process, pod.mount])
  const asked = { linux: { securityContext: { selinuxOptions: { type: 'spc_t', level: 's0' } } } }
  const own = spec(asked, undefined, labelled)
  expect([own.process.selinuxLabel, own.linux.mountLabel]).toEqual([
    'system_u:system_r:spc_t:s0',
    'system_u:object_r:container_file_t:s0',
  ])
  const privileged = spec({ linux: { securityContext: { privileged: true } } }, undefined, {
    ...labelled,
    privilegedPod: true,
  })
  expect(privileged.process).not.toHaveProperty('selinuxLabel')
  expect(spec(asked).process).not.toHaveProperty('selinuxLabel')
  expect(spec(asked).linux).not.toHaveProperty('mountLabel')
  // What can be no label is refused where labels are off, too.
  const wrong = { linux: { securityContext: { selinuxOptions: { level: 'x' } } } }
  expect(() => spec(wrong)).toThrow(`the format of 'level' "x" is not correct`)
})

describe('files', () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'nodelet-selinux-'))
  })
  afterEach(() => rmSync(folder, { recursive: true }))
  const labelOf = (...names: string[]): string | undefined =>
    getXattr(join(folder, ...names), 'security.selinux')
      ?.toString()
      .replace(/\0$/, '')

  test('all in a folder is labelled, links themselves, and the node’s own folders are not', async () => {
    mkdirSync(join(folder, 'a/b'), { recursive: true })
    mkdirSync(join(folder, 'outside'))
    writeFileSync(join(folder, 'a/b/file'), '')
    symlinkSync(join(folder, 'outside'), join(folder, 'a/link'))
    await relabel(join(folder, 'a'), pod.mount)
    expect([labelOf('a'), labelOf('a/b'), labelOf('a/b/file'), labelOf('a/link')]).toEqual(Array(4).fill(pod.mount))
    expect([labelOf(), labelOf('outside')]).toEqual([undefined, undefined])
    await relabel(join(folder, 'a/b/file'), 'u:r:t:s0')
    expect(labelOf('a/b/file')).toBe('u:r:t:s0')
    await relabel('/proc/self/status', pod.mount) // a file system without labels
    for (const path of ['/', '/etc', '/usr', '/var/lib']) {
      await expect(relabel(path, pod.mount)).rejects.toThrow(`SELinux relabeling of ${path} is not allowed`)
    }
    await expect(relabel(join(folder, 'a'), pod.mount, AbortSignal.abort(new Error('enough')))).rejects.toThrow(
      'enough',
    )
  })

  test('labels of containers are the policy’s', async () => {
    const put = (name: string, text: string): void => {
      mkdirSync(join(folder, name, '..'), { recursive: true })
      writeFileSync(join(folder, name), text)
    }
    expect(await readDefaultLabels(folder)).toEqual({
      process: 'system_u:system_r:container_t:s0',
      mount: 'system_u:object_r:container_file_t:s0',
      readOnly: 'system_u:object_r:container_ro_file_t:s0',
    })
    put('config', '# what\nSELINUX=enforcing\nSELINUXTYPE=mine # strict\n')
    put(
      'mine/contexts/lxc_contexts',
      'process = "u:r:p_t:s0"\ncontent = "x"\nfile = "u:object_r:f_t:s0"\nro_file="u:object_r:ro_t:s0"\n',
    )
    expect(await readDefaultLabels(folder)).toEqual({
      process: 'u:r:p_t:s0',
      mount: 'u:object_r:f_t:s0',
      readOnly: 'u:object_r:ro_t:s0',
    })
    put('mine/contexts/lxc_contexts', 'process = "nonsense"\n')
    await expect(readDefaultLabels(folder)).rejects.toThrow('SELinux label "nonsense": must be USER:ROLE:TYPE:LEVEL')
    expect(() => parseLabel('a:b:c')).toThrow('USER:ROLE:TYPE:LEVEL')
  })
})
