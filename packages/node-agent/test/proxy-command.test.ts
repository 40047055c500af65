// `nodelet proxy`, and how a node finds the configuration of its proxy.
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { isNamespacePinned, pinNamespaces, unpinNamespace } from '@nodelet/linux'
import { parseKubeProxyConfiguration, prepareKernel, usualConntrack } from '@nodelet/proxy-rules'
import { afterAll, afterEach, expect, test, vi } from 'vitest'
import { parse } from 'yaml'
import { runCli } from '../src/cli.ts'
import { readProxyConfig } from '../src/config.ts'

const folder = mkdtempSync(join(tmpdir(), 'nodelet-proxy-command-'))
const file = join(folder, 'proxy.yaml')
const netns = join(folder, 'net')
afterAll(() => {
  if (isNamespacePinned(netns)) unpinNamespace(netns)
  rmSync(folder, { recursive: true })
})

afterEach(() => {
  vi.unstubAllEnvs()
  vi.restoreAllMocks()
})

const command = [
  process.execPath,
  '--conditions=@nodelet/source',
  resolve(import.meta.dirname, '../src/cli.ts'),
  'proxy',
]
const inNamespace = async (...args: string[]): Promise<string> =>
  (await promisify(execFile)('nsenter', [`--net=${netns}`, '--', ...args])).stdout

test('a node says what its file does not; what the flag says of the mode wins', async () => {
  const node = { podCidr: '10.88.0.0/16', proxyConfig: undefined, proxyMode: undefined }
  expect(await readProxyConfig(node)).toEqual(
    parseKubeProxyConfiguration(
      { clusterCIDR: '10.88.0.0/16', iptables: { minSyncPeriod: '100ms' }, nftables: { minSyncPeriod: '100ms' } },
      'test',
    ),
  )
  writeFileSync(
    file,
    'mode: nftables\niptables: {masqueradeAll: true}\nnftables: {minSyncPeriod: 2s}\nclusterCIDR: null\n',
  )
  expect(await readProxyConfig({ ...node, proxyConfig: file })).toMatchObject({
    mode: 'nftables',
    clusterCIDR: '',
    iptables: { masqueradeAll: true, minSyncPeriod: '100ms' },
    nftables: { minSyncPeriod: '2s' },
  })
  expect((await readProxyConfig({ ...node, proxyConfig: file, proxyMode: 'ipvs' })).mode).toBe('ipvs')
  writeFileSync(file, 'mode: fast')
  await expect(readProxyConfig({ ...node, proxyConfig: file })).rejects.toThrow(`${file}: mode: Invalid value: "fast"`)
  writeFileSync(file, '')
  expect((await readProxyConfig({ ...node, proxyConfig: file })).clusterCIDR).toBe('10.88.0.0/16')
})

test('the configuration is written with the flags over it, and without what a later release may have', async () => {
  writeFileSync(file, 'mode: nftables\nclusterCIDR: 10.1.0.0/16\nfuture: 1\n')
  const written = join(folder, 'written.yaml')
  const flags = ['--proxy-mode=iptables', '--masquerade-all', '--v', '2', '--cleanup=false', '--healthz-port=0']
  expect(await runCli(['proxy', '--config', file, '--write-config-to', written, ...flags])).toBe(0)
  expect(parse(readFileSync(written, 'utf8'))).toMatchObject({
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    mode: 'iptables',
    clusterCIDR: '10.1.0.0/16',
    iptables: { masqueradeAll: true },
    logging: { verbosity: 2 },
    healthzBindAddress: '',
  })
})

test('flags are read as Go reads them: lists and gates may come in several, and -v=2 is -v 2', async () => {
  const written = join(folder, 'flags.yaml')
  const flags = [
    ['-v=2', '--cleanup=F', '--init-only', '0'],
    ['--nodeport-addresses=10.0.0.0/8,192.0.2.0/24', '--nodeport-addresses', 'fd00::/8'],
    ['--feature-gates=ComponentFlagz=true', '--feature-gates=ComponentStatusz=true'],
    ['--vmodule=a=1', '--vmodule=b=2', '--cluster-cidr=10.1.0.0/16', '--cluster-cidr=10.2.0.0/16'],
  ].flat()
  expect(await runCli(['proxy', '--write-config-to', written, ...flags])).toBe(0)
  expect(parse(readFileSync(written, 'utf8'))).toMatchObject({
    nodePortAddresses: ['10.0.0.0/8', '192.0.2.0/24', 'fd00::/8'],
    featureGates: { ComponentFlagz: true, ComponentStatusz: true },
    logging: {
      verbosity: 2,
      vmodule: [
        { filePattern: 'a', verbosity: 1 },
        { filePattern: 'b', verbosity: 2 },
      ],
    },
    clusterCIDR: '10.2.0.0/16',
  })
})

test('what is wrong is told, and nothing is done', async () => {
  vi.stubEnv('KUBERNETES_SERVICE_HOST', '')
  const told = vi.spyOn(console, 'error').mockImplementation(() => {})
  for (const [args, message] of [
    [
      ['--oom-score-adj=5000', '--proxy-mode=x'],
      /✗ flags: mode: Invalid value: "x": .*; oomScoreAdj: Invalid value: 5000: .*\n→ nodelet proxy --help/,
    ],
    [['--cleanup=no'], /✗ flags: --cleanup: Invalid value: "no": must be true or false\n→ nodelet proxy --help/],
    [['--init-only', 'maybe'], /✗ flags: --init-only: Invalid value: "maybe": must be true or false\n/],
    [[], /nodelet proxy --kubeconfig FILE/],
  ] as const) {
    expect(await runCli(['proxy', ...args])).toBe(1)
    expect(told).toHaveBeenLastCalledWith(expect.stringMatching(message))
  }
})

test('--init-only sets what the kernel has to be told; --cleanup ends with 1 when not all could be removed', async () => {
  pinNamespaces({ paths: { net: netns } })
  const conntrack = { ...usualConntrack, udpSeconds: 77 }
  const localTraffic = { mode: 'ClusterCIDR', cidrs: [] } as const
  prepareKernel({ nodeName: 'node', nodeIPs: ['192.0.2.1'], localTraffic, conntrack, netns })
  const sysctl = async (name: string): Promise<string> => inNamespace('cat', `/proc/sys/net/${name}`)
  expect([await sysctl('netfilter/nf_conntrack_udp_timeout'), await sysctl('ipv4/conf/all/route_localnet')]).toEqual([
    '77\n',
    '1\n',
  ])
  await inNamespace('iptables', '-t', 'nat', '-N', 'KUBE-SERVICES')
  await inNamespace('ipset', 'create', 'KUBE-LOOP-BACK', 'hash:ip')
  await inNamespace('iptables', '-A', 'FORWARD', '-m', 'set', '--match-set', 'KUBE-LOOP-BACK', 'src')
  const cleanup = inNamespace(...command, '--cleanup=true')
  await expect(cleanup).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/✗ encountered an error while tearing down rules\n$/),
  })
  expect(await inNamespace('iptables-save')).not.toContain('KUBE-SERVICES')
}, 60_000)
