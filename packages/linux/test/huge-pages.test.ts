// Limits of huge pages, as files: few kernels at hand count huge pages.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openCgroupsV1 } from '../src/cgroup-v1.ts'
import { openCgroupsV2 } from '../src/cgroup-v2.ts'

let root: string
beforeEach(() => void (root = mkdtempSync(join(tmpdir(), 'huge-pages-'))))
afterEach(() => rmSync(root, { recursive: true }))

const hugePages = { '2MB': 6 << 20, '1GB': 0 }
const fileOf = (name: string): string => readFileSync(join(root, name), 'utf8')

test('v1: a file for each size, in a hierarchy of its own; left out where there is none', async () => {
  for (const name of ['memory/pod', 'hugetlb/pod']) mkdirSync(join(root, name), { recursive: true })
  for (const size of ['2MB', '1GB']) writeFileSync(join(root, `hugetlb/pod/hugetlb.${size}.limit_in_bytes`), '')
  const mounts = new Map(['memory', 'hugetlb'].map((name) => [name, join(root, name)]))
  await openCgroupsV1(mounts, new Set(mounts.values())).update('/pod', { hugePages })
  expect(fileOf('hugetlb/pod/hugetlb.2MB.limit_in_bytes')).toBe(String(6 << 20))
  expect(fileOf('hugetlb/pod/hugetlb.1GB.limit_in_bytes')).toBe('0')
  mounts.delete('hugetlb')
  await openCgroupsV1(mounts, new Set(mounts.values())).update('/pod', { hugePages })
})

test('v2: a file for each size that the kernel counts; -1 takes a limit away', async () => {
  for (const pod of ['one', 'two']) {
    mkdirSync(join(root, pod))
    writeFileSync(join(root, pod, 'hugetlb.2MB.max'), '')
  }
  const cgroups = openCgroupsV2(root)
  await cgroups.update('/one', { hugePages })
  expect(fileOf('one/hugetlb.2MB.max')).toBe(String(6 << 20))
  await cgroups.update('/two', { hugePages: { '2MB': -1 } })
  expect(fileOf('two/hugetlb.2MB.max')).toBe('max')
})
