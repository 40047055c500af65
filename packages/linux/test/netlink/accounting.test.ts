import { expect, test } from 'vitest'
import { decodeAccount, encodeAccountName } from '../../src/netlink/messages/accounting.ts'
import { makeNetworks } from './networks.ts'
import type { Networks } from './networks.ts'

/** A guest's kernel has no such objects. */
const here = test.skipIf(process.env.UML)
const inGuest = test.skipIf(!process.env.UML)

/** Sends datagrams of 2 bytes to a port of the namespace's own. */
const send = ({ run }: Networks, count: number): unknown =>
  run('bash', '-c', `for at in {1..${count}}; do echo -n '??' >/dev/udp/127.0.0.1/9; done`)

here.each(['nft', 'legacy'])('an object counts the packets of rules that name it: iptables-%s', async (variant) => {
  using net = makeNetworks()
  const { accounting, links } = net.out
  await links.set('lo', { up: true })
  await accounting.ensure('drops')
  await accounting.ensure('other')
  const none = { packets: 0, bytes: 0 }
  expect((await accounting.list()).toSorted((one, two) => one.name.localeCompare(two.name))).toEqual([
    { name: 'drops', ...none },
    { name: 'other', ...none },
  ])
  const rule = ['INPUT', '-p', 'udp', '-m', 'nfacct', '--nfacct-name', 'drops', '-j', 'DROP']
  net.run(`iptables-${variant}`, '-A', ...rule)
  send(net, 3)
  expect(await accounting.get('drops')).toEqual({ name: 'drops', packets: 3, bytes: 3 * (20 + 8 + 2) })
  // One that is there keeps what it has.
  await accounting.ensure('drops')
  expect(await accounting.get('drops')).toMatchObject({ packets: 3 })
  expect(await accounting.get('other')).toMatchObject(none)
  await expect(accounting.delete('drops')).rejects.toThrow('EBUSY: delete accounting object drops')
  net.run(`iptables-${variant}`, '-D', ...rule)
  for (const name of ['drops', 'drops', 'other']) await accounting.delete(name)
  expect([await accounting.get('drops'), await accounting.list()]).toEqual([undefined, []])
  // Each network namespace has its own.
  await accounting.ensure('drops')
  expect(await net.inside.accounting.list()).toEqual([])
})

here('a name that the kernel does not take is refused', async () => {
  using net = makeNetworks()
  await expect(net.out.accounting.ensure('x'.repeat(32))).rejects.toThrow(/^E\w+: create accounting object xxx/)
  await expect(net.out.accounting.ensure('')).rejects.toThrow('EINVAL: create accounting object')
  expect(await net.out.accounting.list()).toEqual([])
})

inGuest('a kernel without accounting objects says EINVAL', async () => {
  using net = makeNetworks()
  const { accounting } = net.out
  const { ensure, get, list, delete: remove } = accounting
  for (const ask of [ensure, get, list, remove])
    await expect(ask('x')).rejects.toThrow(expect.objectContaining({ code: 'EINVAL' }))
})

test('numbers are read as the kernel’s header lays them out', () => {
  // NFACCT_NAME "x", NFACCT_PKTS 5, NFACCT_BYTES 2^40 + 1, NFACCT_USE 2, after `struct nfgenmsg`.
  const message = Buffer.from(
    '00000000' + '0600010078000000' + '0c0002000000000000000005' + '0c0003000000010000000001' + '0800040000000002',
    'hex',
  )
  expect(decodeAccount(message)).toEqual({ name: 'x', packets: 5, bytes: 2 ** 40 + 1 })
  expect(encodeAccountName('x').toString('hex')).toBe('00000000' + '0600010078000000')
})
