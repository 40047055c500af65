// A kubelet without a runtime of its own uses that of its configuration: here another process's.
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { makeMachine } from './machine.ts'

test('a node that is only a kubelet runs its pods with the runtime that its configuration names', async () => {
  await using machine = await makeMachine()
  const run = `/run/nodelet-${machine.folder.slice(-6)}`
  await machine.up('--parts', 'runtime')
  const { makeDemoImage } = await import('../packages/node-agent/src/demo/image.ts')
  const layout = await makeDemoImage(join(machine.folder, 'image'), 'localhost/nodelet-demo:1')
  expect((await machine.nodelet('image', 'import', layout, ...machine.flags)).code).toBe(0)

  const manifests = join(machine.folder, 'manifests')
  mkdirSync(manifests)
  const main = { name: 'main', image: 'localhost/nodelet-demo:1', command: ['/bin/sh', '-c', 'echo hello; sleep 600'] }
  const spec = { terminationGracePeriodSeconds: 1, containers: [main] }
  const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'talker' }, spec }
  writeFileSync(join(manifests, 'talker.json'), JSON.stringify(pod))
  const kubeletConfig = join(machine.folder, 'kubelet.yaml')
  writeFileSync(
    kubeletConfig,
    `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://${run}/cri.sock
healthzPort: 10248
`,
  )
  // As of a machine that had another kubelet.
  const kubeletDir = join(machine.folder, 'var-lib-kubelet')
  mkdirSync(kubeletDir)
  writeFileSync(join(kubeletDir, 'config.yaml'), 'theirs')
  const own = ['--root', join(machine.folder, 'other'), '--run', `${run}-k`]
  try {
    const kubelet = await machine.up(
      ...own,
      '--root-dir',
      kubeletDir,
      '--manifests',
      manifests,
      '--parts',
      'kubelet',
      '--kubelet-config',
      kubeletConfig,
      '--down',
    )
    const log = async (): Promise<string> =>
      (await machine.run('sh', '-c', `cat ${join(machine.folder, 'other/pod-logs')}/default_talker-*/main/0.log`))
        .stdout
    await expect.poll(log, { timeout: 30_000 }).toMatch(/ stdout F hello\n$/)
    // Of its own it has none.
    expect(existsSync(join(machine.folder, 'other/runtime'))).toBe(false)
    expect(existsSync(join(machine.folder, 'other/kubelet'))).toBe(false)
    expect(readdirSync(kubeletDir)).toContain('plugins_registry')
    kubelet.kill('SIGTERM')
    await once(kubelet, 'exit')
    expect(await machine.nodelet('reset', ...machine.flags, ...own)).toMatchObject({ code: 0, stderr: '' })
    expect(readdirSync(kubeletDir)).toEqual(['config.yaml'])
  } finally {
    rmSync(`${run}-k`, { recursive: true, force: true })
  }
}, 120_000)
