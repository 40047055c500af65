// The proxy's long work has its slices of the event loop together with that of the informers.
export { eachInTurn, finish, inSlices, type Steps } from '@nodelet/kube-client/slices'
