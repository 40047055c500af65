import { expect, test } from 'vitest'
import type { FlowTuple } from '../../src/index.ts'
import { makeNetworks } from './networks.ts'
import type { Networks } from './networks.ts'

/** Makes the kernel track a flow that is translated to another address. */
function track({ run }: Networks, protocol: string, source: string, port: number, to: string): void {
  const extra = protocol === 'tcp' ? ['--state', 'ESTABLISHED'] : []
  const front = source.includes(':') ? 'fd00::10' : '10.96.0.10'
  const original = ['-s', source, '-d', front, '--sport', '4000', '--dport', String(port)]
  const reply = ['-r', to, '-q', source, '--reply-port-src', '5353', '--reply-port-dst', '4000']
  run('conntrack', '-I', '-p', protocol, ...original, ...reply, '-t', '100', '-u', 'ASSURED', ...extra)
}

test('flows are listed and forgotten by address and port', async () => {
  using net = makeNetworks()
  const { conntrack } = net.out
  track(net, 'udp', '10.1.0.1', 53, '10.1.0.9')
  track(net, 'udp', '10.1.0.2', 53, '10.1.0.9')
  track(net, 'udp', '10.1.0.3', 54, '10.1.0.9')
  track(net, 'tcp', '10.1.0.1', 53, '10.1.0.8')
  track(net, 'udp', 'fd00::1', 53, 'fd00::9')
  expect(await conntrack.list({ family: 4 })).toHaveLength(4)
  const [six, ...none] = await conntrack.list({ family: 6, original: { source: 'FD00:0::1' } })
  expect(none).toEqual([])
  expect(six).toMatchObject({
    family: 6,
    protocol: 'udp',
    original: { source: 'fd00::1', destination: 'fd00::10', sourcePort: 4000, destinationPort: 53 },
    reply: { source: 'fd00::9', destination: 'fd00::1', sourcePort: 5353, destinationPort: 4000 },
  })
  const by = async (original: Partial<FlowTuple>, protocol?: 'udp'): Promise<string[]> =>
    (await conntrack.list({ family: 4, original, ...(protocol && { protocol }) }))
      .map((flow) => `${flow.protocol} ${flow.original.source} ${flow.original.destinationPort}`)
      .toSorted()
  expect(await by({}, 'udp')).toEqual(['udp 10.1.0.1 53', 'udp 10.1.0.2 53', 'udp 10.1.0.3 54'])
  expect(await by({ destinationPort: 53 }, 'udp')).toEqual(['udp 10.1.0.1 53', 'udp 10.1.0.2 53'])
  expect(await by({ destinationPort: 53 })).toEqual(['tcp 10.1.0.1 53', 'udp 10.1.0.1 53', 'udp 10.1.0.2 53'])
  expect(await by({ source: '10.1.0.1' })).toEqual(['tcp 10.1.0.1 53', 'udp 10.1.0.1 53'])
  expect(await by({ sourcePort: 4000, destination: '10.96.0.10', source: '10.1.0.3' }, 'udp')).toEqual([
    'udp 10.1.0.3 54',
  ])
  expect(await by({ sourcePort: 4001 }, 'udp')).toEqual([])
  expect(
    await conntrack.delete({ family: 4, protocol: 'udp', original: { destinationPort: 53, source: '10.1.0.1' } }),
  ).toBe(1)
  expect(
    await conntrack.delete({
      family: 4,
      protocol: 'udp',
      reply: { source: '10.1.0.9' },
      original: { destinationPort: 53 },
    }),
  ).toBe(1)
  expect(
    (await conntrack.list({ family: 4 })).map(({ protocol, original }) => `${protocol} ${original.source}`).toSorted(),
  ).toEqual(['tcp 10.1.0.1', 'udp 10.1.0.3'])
  if (!six) throw new Error('no flow of IPv6')
  expect(await conntrack.delete(six)).toBe(1)
  expect(await conntrack.delete(six)).toBe(0)
  // A flow of the same addresses with another number is another one.
  track(net, 'udp', 'fd00::1', 53, 'fd00::9')
  expect(await conntrack.delete({ ...six, id: Buffer.alloc(4) })).toBe(0)
  expect(await conntrack.list({ family: 6 })).toHaveLength(1)
})

test('a long list comes whole', async () => {
  using net = makeNetworks()
  const reply = '-r 10.1.0.9 -q 10.1.0.1 --reply-port-src & --reply-port-dst 4000'
  const flow = `-A -p udp -s 10.1.0.1 -d 10.96.0.10 --sport 4000 --dport & ${reply} -t 100 -u ASSURED`
  const file = `${net.host}.flows`
  net.run('sh', '-c', `seq 2000 | sed 's/.*/${flow}/' >${file} && conntrack -R ${file}`)
  const flows = await net.out.conntrack.list({ family: 4 })
  expect(new Set(flows.map(({ original }) => original.destinationPort))).toHaveProperty('size', 2000)
})
