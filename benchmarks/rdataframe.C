// The selection of processors/strahlung.py with ROOT's RDataFrame, for benchmarks/throughput.py:
// the same cuts and the same histograms, everything compiled, one thread, one pass.
#include <ROOT/RDataFrame.hxx>
#include <ROOT/RVec.hxx>
#include <TH1D.h>
#include <TH2D.h>
#include <cmath>
#include <iostream>
#include <limits>
#include <string>
#include <vector>

using ROOT::RVecD;
using ROOT::RDF::RNode;

namespace {
const double kPi = M_PI;

struct Beam { double e, x, z, roots; };
Beam beam() {
   const double half = 0.083 / 2, em = 7.004, ep = 4.002;
   return {em + ep, (em + ep) * std::sin(half), (em - ep) * std::cos(half),
           2 * std::sqrt(em * ep) * std::cos(half)};
}
#define B beam_constants()
const Beam &beam_constants() { static const Beam b = beam(); return b; }

struct Triple {
   bool found = false;
   double mass = 0, zernike = 0, chi = 0;
   bool apart = true;
   RVecD E, theta, hits, dtheta, dphi, diphoton, recoil;
};

double wrap(double d) { return std::abs(d - 2 * kPi * std::rint(d / (2 * kPi))); }
double root(double x) { return std::copysign(std::sqrt(std::abs(x)), x); }

Triple choose(const RVecD &E, const RVecD &theta, const RVecD &phi, const RVecD &hits,
              const RVecD &zernike, const RVecD &t, const RVecD &dt, double low, double high,
              double least)
{
   Triple r;
   if (E.size() < 3) return r;
   int k[3] = {-1, -1, -1};
   double e[3] = {-1, -1, -1};
   for (int j = 0; j < (int)E.size(); ++j) {
      if (!(E[j] > e[2] && E[j] >= 0.1 && theta[j] > low && theta[j] < high && hits[j] > least &&
            std::abs(phi[j]) <= 2 * kPi && std::isfinite(E[j])))
         continue;
      int place = E[j] > e[0] ? 0 : E[j] > e[1] ? 1 : 2;
      for (int m = 2; m > place; --m) { e[m] = e[m - 1]; k[m] = k[m - 1]; }
      e[place] = E[j]; k[place] = j;
   }
   if (k[2] < 0) return r;
   r.found = true;
   r.E.resize(3); r.theta.resize(3); r.hits.resize(3);
   r.dtheta.resize(3); r.dphi.resize(3); r.diphoton.resize(3); r.recoil.resize(3);
   double w = 0, wt = 0, sum = 0, nearest = 1e300;
   int isolated = 0;
   for (int c = 0; c < 3; ++c) {
      int i = k[c], one = k[c == 0 ? 1 : 0], two = k[c == 2 ? 1 : 2];
      r.E[c] = E[i]; r.theta[c] = theta[i]; r.hits[c] = hits[i];
      r.dtheta[c] = std::abs(theta[one] - theta[two]);
      r.dphi[c] = wrap(phi[one] - phi[two]);
      double p = std::sin(0.5 * (theta[one] - theta[two])), a = std::sin(0.5 * (phi[one] - phi[two]));
      double m2 = 4 * E[one] * E[two] * (p * p + std::sin(theta[one]) * std::sin(theta[two]) * a * a);
      sum += m2;
      r.diphoton[c] = root(m2);
      double cm = (E[i] * B.e - E[i] * (std::sin(theta[i]) * B.x * std::cos(phi[i]) +
                                        B.z * std::cos(theta[i]))) / B.roots;
      r.recoil[c] = root(B.roots * (B.roots - 2 * cm));
      r.apart = r.apart && (r.dtheta[c] > 0.014 || r.dphi[c] > 0.40);
      double d2 = r.dtheta[c] * r.dtheta[c] + r.dphi[c] * r.dphi[c];
      if (d2 < nearest) { nearest = d2; isolated = c; }
      double weight = dt[i] > 0 ? 1 / (dt[i] * dt[i]) : NAN;
      w += weight; wt += weight * t[i];
   }
   r.mass = std::sqrt(sum);
   r.zernike = zernike[k[isolated]];
   for (int c = 0; c < 3; ++c) r.chi = std::max(r.chi, std::abs(t[k[c]] - wt / w) / dt[k[c]]);
   return r;
}

enum Cut { kEnergy = 1, kMass = 2, kClean = 4, kZernike = 8, kTime = 16, kApart = 32, kAll = 63 };

int passed(const Triple &t, bool clean, double least) {
   if (!t.found) return 0;
   return (t.E[2] >= least) * kEnergy + (t.mass >= 0.88 * B.roots && t.mass <= 1.03 * B.roots) * kMass +
          clean * kClean + (t.zernike > 0.6) * kZernike + (t.chi < 10) * kTime + t.apart * kApart;
}

using H1 = ROOT::RDF::RResultPtr<TH1D>;
using H2 = ROOT::RDF::RResultPtr<TH2D>;
std::vector<H1> books;
std::vector<H2> books2;

template <class T> void book(RNode n, const char *column, int bins, double low, double high) {
   books.push_back(n.Histo1D<T, double>({column, "", bins, low, high}, column, "unit"));
}
} // namespace

// Returns the number of events in the high-mass set.
long rdataframe(const char *path)
{
   const double none = -std::numeric_limits<double>::infinity(), deg = kPi / 180;
   ROOT::RDataFrame frame("events", path);
   const std::vector<std::string> in{"gamma_E", "gamma_theta", "gamma_phi", "gamma_clusterNHits",
                                     "gamma_clusterZernikeMVA", "gamma_clusterTiming",
                                     "gamma_clusterErrorTiming"};
   auto chooser = [](double low, double high, double least) {
      return [=](const RVecD &a, const RVecD &b, const RVecD &c, const RVecD &d, const RVecD &e,
                 const RVecD &f, const RVecD &g) { return choose(a, b, c, d, e, f, g, low, high, least); };
   };
   auto clean = [](const RVecD &n, const RVecD &dr, const RVecD &dz) {
      for (size_t i = 0; i < n.size(); ++i)
         if (n[i] > 0 && std::abs(dr[i]) < 1 && std::abs(dz[i]) < 5) return false;
      return true;
   };
   RNode three = frame.Define("unit", [] { return 1.0; })
                    .Define("loose", chooser(17 * deg, 150 * deg, none), in)
                    .Filter([](const Triple &t) { return t.found; }, {"loose"});
   RNode all = three.Define("final", chooser(37.3 * deg, 123.7 * deg, 1.5), in)
                  .Define("any_theta", chooser(17 * deg, 150 * deg, 1.5), in)
                  .Define("any_hits", chooser(37.3 * deg, 123.7 * deg, none), in)
                  .Define("clean", clean, {"track_nCDCHits", "track_dr", "track_dz"});
   for (std::string name : {"loose", "final", "any_theta", "any_hits"})
      all = all.Define(name + "_mass", [](const Triple &t) { return t.mass; }, {name})
               .Define(name + "_E", [](const Triple &t) { return t.E; }, {name})
               .Define(name + "_theta", [](const Triple &t) { return t.theta; }, {name})
               .Define(name + "_hits", [](const Triple &t) { return t.hits; }, {name})
               .Define(name + "_zernike", [](const Triple &t) { return t.zernike; }, {name})
               .Define(name + "_chi", [](const Triple &t) { return t.chi; }, {name})
               .Define(name + "_dtheta", [](const Triple &t) { return t.dtheta; }, {name})
               .Define(name + "_dphi", [](const Triple &t) { return t.dphi; }, {name})
               .Define(name + "_diphoton", [](const Triple &t) { return t.diphoton; }, {name})
               .Define(name + "_recoil", [](const Triple &t) { return t.recoil; }, {name});
   auto variables = [](RNode n, std::string s) {
      book<double>(n, (s + "_mass").c_str(), 140, 8.4, 11.2);
      book<RVecD>(n, (s + "_E").c_str(), 100, 0, 8);
      book<RVecD>(n, (s + "_theta").c_str(), 120, 0.25, 2.65);
      book<RVecD>(n, (s + "_hits").c_str(), 60, 0, 60);
      book<double>(n, (s + "_zernike").c_str(), 50, 0, 1);
      book<double>(n, (s + "_chi").c_str(), 60, 0, 15);
      book<RVecD>(n, (s + "_dtheta").c_str(), 64, 0, 1.6);
      book<RVecD>(n, (s + "_dphi").c_str(), 64, 0, 3.2);
   };
   variables(all.Filter([](const Triple &t) { return t.mass >= 0.8 * B.roots && t.mass <= 1.05 * B.roots; },
                        {"loose"}), "loose");
   std::vector<ROOT::RDF::RResultPtr<ULong64_t>> counts;
   for (double least : {1.0, 0.65}) {
      auto mask = [least](const Triple &t, bool c) { return passed(t, c, least); };
      RNode n = all.Define("p", mask, {"final", "clean"})
                   .Define("p_theta", mask, {"any_theta", "clean"})
                   .Define("p_hits", mask, {"any_hits", "clean"});
      auto but = [&n](int cuts, std::string p = "p") {
         return RNode(n.Filter([cuts](int m) { return (m | cuts) == kAll; }, {p}));
      };
      RNode chosen = but(0);
      counts.push_back(chosen.Count());
      book<RVecD>(chosen, "final_diphoton", 15000, -4, 11);
      book<RVecD>(chosen, "final_recoil", 15000, -4, 11);
      variables(chosen, "final");
      book<double>(but(kMass), "final_mass", 140, 8.4, 11.2);
      book<RVecD>(but(kEnergy), "final_E", 100, 0, 8);
      book<RVecD>(but(0, "p_theta"), "any_theta_theta", 120, 0.25, 2.65);
      book<RVecD>(but(0, "p_hits"), "any_hits_hits", 60, 0, 60);
      book<double>(but(kZernike), "final_zernike", 50, 0, 1);
      book<double>(but(kTime), "final_chi", 60, 0, 15);
      RNode pairs = but(kApart);
      book<RVecD>(pairs, "final_dtheta", 64, 0, 1.6);
      book<RVecD>(pairs, "final_dphi", 64, 0, 3.2);
      books2.push_back(pairs.Histo2D<RVecD, RVecD, double>(
         {"d", "", 50, 0, 0.1, 40, 0, 0.8}, "final_dtheta", "final_dphi", "unit"));
      RNode below = n.Filter([](int m, const Triple &t) {
         return (m | kMass | kZernike) == kAll && t.mass < 0.88 * B.roots; }, {"p", "final"});
      book<double>(below, "final_mass", 100, 0, 9.4);
      book<double>(below, "final_zernike", 50, 0, 1);
   }
   
   return counts[1].GetValue();
}
