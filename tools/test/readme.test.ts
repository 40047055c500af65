import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { openCgroups } from '@nodelet/linux'
import { openImages } from '@nodelet/runtime-runc'
import { expect, test } from 'vitest'
import { makeDemoImage } from '../../packages/node-agent/src/demo/image.ts'

const packages = resolve(import.meta.dirname, '../../packages')

/** Where runtime-runc's containers are when nobody says otherwise. */
const defaultCgroup = '/nodelet'

/** What examples find on a machine that has the network: here there is none. */
const prepare: Record<string, () => Promise<void>> = {
  'runtime-runc': async () => {
    const name = 'docker.io/library/busybox:1.36'
    await using images = await openImages({ root: '/tmp/hello/images' })
    await images.importArchive(await makeDemoImage('/tmp/hello/layout', name), { reference: name })
  },
}

/** How an example is called that waits for it. */
const calls: Record<string, { env: Record<string, string>; input: string }> = {
  'cni-plugins': {
    env: { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'a', CNI_NETNS: '/none', CNI_IFNAME: 'eth0', CNI_PATH: '/opt/cni/bin' },
    input: JSON.stringify({
      cniVersion: '0.4.0',
      name: 'pods',
      type: 'domain',
      domain: 'example.test',
      prevResult: { cniVersion: '0.4.0', ips: [{ version: '4', address: '10.1.2.3/24' }] },
    }),
  },
}

// The examples of cri-api and kube-client talk to a runtime and to a cluster at fixed paths: their own tests stand for them.
test.each<[name: string, output: string | RegExp]>([
  ['linux', '{}\n'],
  ['kubelet-core', ''],
  ['cni-plugins', /"version": "4"[^]*"dns": {\s+"domain": "example.test"/],
  ['csi-node', 'memory.csi.example.com serves /csi.sock\n'],
  ['proxy-rules', /-A KUBE-SVC-\S+ .*-j KUBE-SEP-/],
  ['runtime-runc', '0 hello\n\n'],
  ['local-cluster', 'default\nkube-node-lease\nkube-public\nkube-system\n'],
  ['node-agent', 'cluster runtime kubelet proxy 10.88.0.0/16\n/srv/nodelet/manifests\n'],
])('the first example of %s runs as printed', async (name, output) => {
  const cgroups = await openCgroups()
  const hadCgroup = await cgroups.exists(defaultCgroup)
  const readme = readFileSync(join(packages, name, 'README.md'), 'utf8')
  const example = /```ts\n([\s\S]*?)```/.exec(readme)?.[1] ?? ''
  const file = join(packages, name, 'test', `readme-example-${process.pid}.ts`)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, example, { flag: 'wx' })
  try {
    await prepare[name]?.()
    const node = process.execPath
    expect(example).toMatch(new RegExp(`from '@nodelet/${name}['/]`))
    const args = ['--conditions=@nodelet/source', file]
    const { env, input = '' } = calls[name] ?? {}
    const printed = execFileSync(node, args, {
      encoding: 'utf8',
      timeout: 20_000,
      env: { ...process.env, ...env },
      input,
    })
    if (typeof output === 'string') expect(printed).toBe(output)
    else expect(printed).toMatch(output)
  } finally {
    rmSync(file)
    if (!hadCgroup) await cgroups.remove(defaultCgroup)
    for (const folder of ['/tmp/hello', '/run/hello', '/tmp/my-cluster'])
      rmSync(folder, { recursive: true, force: true })
  }
})
