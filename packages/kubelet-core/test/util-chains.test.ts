// `makeIPTablesUtilChains`, in a network of the test's own.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pinNamespaces, unpinNamespace } from '@nodelet/linux'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { keepKubeletRules } from '../../proxy-rules/src/index.ts'
import { open, useFixture } from './fixture.ts'

useFixture()

let base: string
let netns: string
beforeAll(() => {
  base = mkdtempSync(join(tmpdir(), 'chains-'))
  netns = join(base, 'net')
  pinNamespaces({ paths: { net: netns } })
})
afterAll(() => {
  unpinNamespace(netns)
  rmSync(base, { recursive: true })
})

const chains = (): string[] =>
  execFileSync('nsenter', [`--net=${netns}`, 'iptables', '-t', 'mangle', '-S'], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line.startsWith('-N'))

it('are made and kept while the kubelet runs, unless the configuration says otherwise', async () => {
  let kept = 0
  const utilChains = async (): Promise<AsyncDisposable> => {
    const keeping = await keepKubeletRules({ netns })
    kept += 1
    return {
      async [Symbol.asyncDispose]() {
        await keeping[Symbol.asyncDispose]()
        kept -= 1
      },
    }
  }
  await open({ utilChains, configuration: { makeIPTablesUtilChains: false } })
  expect([chains(), kept]).toEqual([[], 0])
  const kubelet = await open({ utilChains })
  expect([chains(), kept]).toEqual([['-N KUBE-IPTABLES-HINT', '-N KUBE-KUBELET-CANARY'], 1])
  await kubelet.close()
  expect([chains().length, kept]).toEqual([2, 0])
})
