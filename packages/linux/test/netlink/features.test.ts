import { expect, test } from 'vitest'
import { makeNetworks } from './networks.ts'

test('checksums of packets sent are switched off and on', async () => {
  using net = makeNetworks()
  const { out } = net
  await out.links.add({ kind: 'veth', name: 'v0', peer: { name: 'p0' } })
  const checksum = async (): Promise<unknown> =>
    (await out.features.list('v0')).find(({ name }) => name === 'tx-checksum-ip-generic')
  expect(await checksum()).toEqual({ name: 'tx-checksum-ip-generic', active: true, changeable: true })
  await out.features.setTxChecksum('v0', false)
  expect(await checksum()).toMatchObject({ active: false })
  await out.features.set('v0', { 'tx-checksum-ip-generic': true, 'rx-gro': false })
  expect(await checksum()).toMatchObject({ active: true })
  const { index = 0 } = (await out.links.get('v0')) ?? {}
  const features = await out.features.list(index)
  expect(features.find(({ name }) => name === 'rx-gro')).toMatchObject({ active: false })
  expect(features.some(({ changeable }) => !changeable)).toBe(true)
  await expect(out.features.set('v0', { 'no-such-feature': true })).rejects.toThrow(
    'EOPNOTSUPP: set no-such-feature of link v0: bit name not found',
  )
  await expect(out.features.list('none')).rejects.toThrow('ENODEV: list features of link none: no device matches name')
})
